"""The kinds of options: what each declares to pytest and how it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@dataclass(frozen=True)
class OptionValue:
    """A value that the user wrote for an option.

    Attributes:
        text: The value.
        source: The flag or the ini option, as error messages name it.
        folder: The folder that relative paths start from.
    """

    text: str
    source: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.source}={self.text!r}"

    def refuse(self, expected: str) -> NoReturn:
        """Raise UsageError with the value and what was ``expected``."""
        from pytest_mipro.plugin.safe_text import safe_line  # loads what only --mipro needs

        raise pytest.UsageError(safe_line(f"{self}: expected {expected}"))


@dataclass(frozen=True)
class Option(ABC):
    """A flag, an ini option, or both.

    Attributes:
        help: The sentence that ``pytest --help`` shows.
        name: The name, as in ``--mipro-NAME`` and ``mipro_NAME``; by default
            that of the field of ``Settings``.
        metavar: The word for the flag's value in the help.
        has_flag: Whether there is a flag.
        has_ini: Whether there is an ini option.
    """

    action: ClassVar[str] = "store"
    ini_type: ClassVar[Any]

    help: str
    name: str = ""
    metavar: str | None = None
    has_flag: bool = True
    has_ini: bool = True

    @property
    def flag(self) -> str:
        """The flag."""
        return f"--mipro-{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """The name in the ini file, and of the flag in ``config.option``."""
        return f"mipro_{self.name}"

    def declare(self, parser: pytest.Parser, group: pytest.OptionGroup) -> None:
        """Declare the flag and the ini option."""
        if self.has_flag:
            metavar = {} if self.metavar is None else {"metavar": self.metavar}
            group.addoption(self.flag, action=self.action, default=None, help=self.help, **metavar)
        if self.has_ini:
            # The default tells a value that is missing from one that is empty.
            parser.addini(self.key, self.help, type=self.ini_type, default=None)

    @abstractmethod
    def read(self, config: pytest.Config) -> Any:
        """Return the setting; the flag wins over the ini option."""

    def _raw(self, config: pytest.Config) -> tuple[Any, bool]:
        """Return what pytest read, and whether it is the flag's."""
        flag = config.getoption(self.key) if self.has_flag else None
        if flag is not None:
            return flag, True
        return (config.getini(self.key) if self.has_ini else None), False

    def _value(self, config: pytest.Config, text: str, *, is_flag: bool) -> OptionValue:
        if is_flag:
            return OptionValue(text, self.flag, config.invocation_params.dir)
        return OptionValue(text, self.key, config.rootpath)


@dataclass(frozen=True)
class Switch(Option):
    """An option that is on or off; its flag does nothing without ``--mipro``."""

    action: ClassVar[str] = "store_true"
    ini_type: ClassVar[Any] = "bool"

    has_ini: bool = False

    def read(self, config: pytest.Config) -> bool:
        """Return whether the option is on."""
        raw, _ = self._raw(config)
        return bool(raw)

    def has_set_flag(self, config: pytest.Config) -> bool:
        """Whether the flag is on the command line."""
        return self.has_flag and bool(config.getoption(self.key))


# The table [tool.pytest] has numbers; pytest tells what it may hold in 9.2, where an ini file's
# text still reaches ``parse`` as it is.
_SCALAR: Any = str | int | float | bool if pytest.version_tuple >= (9, 2) else "string"


@dataclass(frozen=True)
class Text(Option):
    """An option with one value.

    Attributes:
        parse: Returns the setting, or raises UsageError, as for an empty value: the variable of a
            shell that should have had one is not set.
        default: The value where the user wrote none; None stands for no setting.
    """

    ini_type: ClassVar[Any] = _SCALAR

    parse: Callable[[OptionValue], Any] = lambda value: value.text
    default: str | None = None

    def read(self, config: pytest.Config) -> Any:
        """Return the parsed value of the flag, the ini option, or the default."""
        raw, is_flag = self._raw(config)
        text = self.default if raw is None else _text(raw)
        return None if text is None else self.parse(self._value(config, text, is_flag=is_flag))


@dataclass(frozen=True)
class Lines(Option):
    """An option with any number of values: a flag each, or a line of the ini file each.

    Attributes:
        parse: Returns one element of the setting, or raises UsageError.
        collect: Returns the setting for all elements.
    """

    action: ClassVar[str] = "append"
    ini_type: ClassVar[Any] = "linelist"

    parse: Callable[[OptionValue], Any] = lambda value: value
    collect: Callable[[Iterable[Any]], Any] = tuple

    def read(self, config: pytest.Config) -> Any:
        """Return the parsed values of the flags, or else of the ini option."""
        raw, is_flag = self._raw(config)
        values = [self._value(config, text, is_flag=is_flag) for text in raw or []]
        return self.collect(map(self.parse, values))


def _text(value: object) -> str:
    """Return a value as it is written in TOML, in which an ini option may have another type."""
    return str(value).lower() if isinstance(value, bool) else str(value)

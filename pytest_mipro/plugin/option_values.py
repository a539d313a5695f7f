"""Read the values of options: each function returns a setting, or refuses what was written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mipro.plugin.options import OptionValue

DEFAULT_STORE = ".mipro/store.db"
SQLITE = "sqlite:///"


def whole_number(value: OptionValue) -> int:
    """Return a whole number of at least 1."""
    if not value.text.isdecimal() or int(value.text) < 1:
        value.refuse("a whole number of at least 1")
    return int(value.text)


def above_zero(unit: str) -> Callable[[OptionValue], float]:
    """Return a function that reads a finite number of a unit, such as ``"seconds"``, above 0."""

    def parse(value: OptionValue) -> float:
        try:
            number = float(value.text)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            value.refuse(f"a number of {unit} above 0")
        return number

    return parse


def one_of(*words: str) -> Callable[[OptionValue], str]:
    """Return a function that accepts these words alone."""

    def parse(value: OptionValue) -> str:
        if value.text not in words:
            value.refuse(" or ".join(words))
        return value.text

    return parse


def price(value: OptionValue) -> tuple[str, tuple[float, float]]:
    """Return a model and its prices per million tokens: those of input and of output."""
    name, _, text = value.text.rpartition(":")
    try:
        input_price, output_price = map(float, text.split())
    except ValueError:
        input_price = output_price = math.nan
    if not (name.strip() and 0 <= input_price < math.inf and 0 <= output_price < math.inf):
        value.refuse(
            "a model and US dollars per million input and output tokens, such as "
            "`openai/my-model: 0.15 0.60`"
        )
    return name.strip(), (input_price, output_price)


def revision(value: OptionValue) -> str:
    """Return the name of a commit, which git cannot take for an option."""
    if not value.text.strip() or value.text.startswith("-"):
        value.refuse("a commit, such as origin/main")
    return value.text


def not_empty(expected: str) -> Callable[[OptionValue], str]:
    """Return a function that accepts any text; its message says what was ``expected``."""

    def parse(value: OptionValue) -> str:
        if not value.text.strip():
            value.refuse(expected)
        return value.text

    return parse


model_name = not_empty("a DSPy model string such as openai/gpt-4o-mini, or 'local'")


def secret_name(value: OptionValue) -> str:
    """Return a name, or a pattern that does not match every name."""
    if not value.text.strip("* "):
        value.refuse("the name of a secret, such as DEPLOY_PIN or *_pin")
    return value.text.strip()


def database_url(value: OptionValue) -> str:
    """Return a SQLAlchemy URL; the path of a SQLite file is made absolute."""
    url = value.text
    if not url.strip():
        value.refuse(f"a SQLAlchemy URL such as {SQLITE}{DEFAULT_STORE}")
    path = path_in(url)
    if path is None or Path(path).is_absolute():
        return url
    return f"{SQLITE}{quoted(value.folder)}/{path}"


def quoted(folder: Path) -> str:
    """Return a path as a URL has it: its name may hold ``%2F`` or a question mark."""
    return quote(folder.as_posix(), safe="/:")


def path_in(url: str) -> str | None:
    """Return the path of a file, with the options after it; None if SQLite alone can read it."""
    path = url.removeprefix(SQLITE)
    return None if path == url or path.startswith((":", "file:")) else path or None

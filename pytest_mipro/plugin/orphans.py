"""Who writes which reference: no two tests the same, and which files no test does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.node import location_of
from pytest_mipro.reference import FOLDER, PROGRAM_SUFFIX, SCORES_SUFFIX, file_name, same_file

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_NARROWING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""The options of pytest, as it stores them, with which a run leaves tests out."""
_SENT = "mipro"
"""What a worker's findings are called on their way to the controller."""


class OrphanedReferences:
    """Hooks that compare the tests collected with the references there are."""

    def __init__(self, config: pytest.Config) -> None:
        """Watch the collection of ``config``'s session."""
        self._config = config
        self._taken: dict[str, str] = {}
        self._modules: set[Path] = set()
        self._partial = False
        self._sent: list[list[str] | None] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self) -> Generator[None, Any, Any]:
        """Refuse a test whose reference would be another test's."""
        made = yield
        for node in made if isinstance(made, list) else [made]:
            if isinstance(node, pytest.Item):
                self._take(node)
        return made

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Take note of the module."""
        self._modules.add(item.path)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take note of a module without tests, and of what could not be collected."""
        self._partial |= report.failed
        # One that skips itself has tests that nobody sees here.
        if report.nodeid.endswith(".py") and not report.skipped:
            self._modules.add(self._config.rootpath / report.nodeid)

    def pytest_deselected(self) -> None:
        """Take note that not all tests are run."""
        self._partial = True

    def pytest_sessionfinish(self) -> None:
        """Send the findings of a worker to the controller."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[_SENT] = None if self._partial else self._orphans()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Receive the findings of a worker; one that crashed has none."""
        self._sent.append(getattr(node, "workeroutput", {}).get(_SENT))

    def use(self, node: pytest.Item) -> None:
        """Take note of a test that asks for its outcome as it runs, without declaring it."""
        place = location_of(node)
        for path in (place.scores, place.program):
            self._taken.setdefault(same_file(path), node.nodeid)

    @property
    def orphans(self) -> list[str] | None:
        """The references of no test, as people see them; None if only some tests were run."""
        if self._partial or _is_narrowed(self._config):
            return None
        if not self._sent:
            return self._orphans()
        found = [set(each) for each in self._sent if each is not None]
        return sorted(set.intersection(*found)) if len(found) == len(self._sent) else None

    def _take(self, node: pytest.Item) -> None:
        if "mipro" not in getattr(node, "fixturenames", ()):
            return
        place = location_of(node)
        for path in (place.scores, place.program):
            other = self._taken.setdefault(same_file(path), node.nodeid)
            if other != node.nodeid:
                message = (
                    f"{node.nodeid} and {other} would have the same reference, "
                    f"{place.show(path)}, on some systems; rename one of them"
                )
                raise pytest.Collector.CollectError(message)

    def _orphans(self) -> list[str]:
        root = self._config.rootpath
        return [
            (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
            for folder in sorted({module.parent for module in self._modules})
            for path in _distinct(self._unknown(folder))
        ]

    def _unknown(self, folder: Path) -> Iterator[Path]:
        """Return the references in ``folder`` that no test collected there would write."""
        collected = {file_name(each.stem) for each in self._modules if each.parent == folder}
        present = {file_name(each.stem) for each in folder.glob("*.py")}
        for path in sorted((folder / FOLDER).glob(f"*/*{SCORES_SUFFIX}")):
            # A module that was left out, as by collect_ignore or a skip, may want its own.
            left_out = path.parent.name in present - collected
            if not left_out and same_file(path) not in self._taken:
                yield path


def _distinct(files: Iterator[Path]) -> list[Path]:
    """Return one path for the two files of a reference."""
    return list(dict.fromkeys(each.with_name(f"{_bare(each.name)}.*") for each in files))


def _bare(name: str) -> str:
    suffix = PROGRAM_SUFFIX if name.endswith(PROGRAM_SUFFIX) else SCORES_SUFFIX
    return name.removesuffix(suffix)


def _is_narrowed(config: pytest.Config) -> bool:
    if any(getattr(config.option, name, None) for name in _NARROWING):
        return True
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return False
    # A folder is collected with all its references; a file or a node id is not.
    start = config.invocation_params.dir
    return not all((start / argument).is_dir() for argument in config.args)

"""Refuse two tests with the same reference, and find the references of no test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.plugin.node import location_of
from pytest_mipro.plugin.safe_text import safe_text
from pytest_mipro.reference import (
    FOLDER,
    HISTORY_SUFFIX,
    PROGRAM_SUFFIX,
    SCORES_SUFFIX,
    file_name,
    same_file,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_NARROWING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""The options of pytest, as it stores them, with which a run leaves tests out."""
_OUTPUT = "mipro"
"""The key of a worker's orphans in ``workeroutput``."""


class OrphanedReferences:
    """Hooks that compare the collected tests with the references beside them."""

    def __init__(self, config: pytest.Config) -> None:
        """Compare the tests of ``config``'s session."""
        self._config = config
        self._users: dict[str, str] = {}
        self._modules: set[Path] = set()
        self._is_partial = False
        self._worker_orphans: list[list[str] | None] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self) -> Generator[None, Any, Any]:
        """Refuse a test that would have the reference of another test."""
        result = yield
        for node in result if isinstance(result, list) else [result]:
            if isinstance(node, pytest.Item) and "mipro" in getattr(node, "fixturenames", ()):
                self._add_only_user(node)
        return result

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Add the module of a test to the collected ones."""
        self._modules.add(item.path)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add a module without tests to the collected ones."""
        self._is_partial |= report.failed
        # A module that skips itself has tests that pytest does not collect here.
        if report.nodeid.endswith(".py") and not report.skipped:
            self._modules.add(self._config.rootpath / report.nodeid)

    def pytest_deselected(self) -> None:
        """Find no orphans in a session that does not run all tests."""
        self._is_partial = True

    def pytest_sessionfinish(self) -> None:
        """Send the orphans that a worker finds to the controller."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[_OUTPUT] = None if self._is_partial else self._own_orphans()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Receive the orphans that a worker finds; a worker that crashed sends none."""
        self._worker_orphans.append(getattr(node, "workeroutput", {}).get(_OUTPUT))

    def add_user(self, node: pytest.Item) -> None:
        """Add a test that requests its outcome as it runs, without declaring it."""
        location = location_of(node)
        for path in location.files:
            self._users.setdefault(same_file(path), node.nodeid)

    @property
    def orphans(self) -> list[str] | None:
        """The paths of the references of no test; None if only some tests were run."""
        if self._is_partial or _is_narrowed(self._config):
            return None
        if not self._worker_orphans:
            return self._own_orphans()
        complete = [set(orphans) for orphans in self._worker_orphans if orphans is not None]
        if len(complete) < len(self._worker_orphans):
            return None
        return sorted(set.intersection(*complete))

    def _add_only_user(self, node: pytest.Item) -> None:
        location = location_of(node)
        for path in location.files:
            user = self._users.setdefault(same_file(path), node.nodeid)
            if user != node.nodeid:
                message = (
                    f"{node.nodeid} and {user} would have the same reference, "
                    f"{location.show(path)}, on some systems; rename one of them"
                )
                raise pytest.Collector.CollectError(safe_text(message))

    def _own_orphans(self) -> list[str]:
        root = self._config.rootpath
        return [
            (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
            for folder in sorted({module.parent for module in self._modules})
            for path in _references(self._unused_files(folder))
        ]

    def _unused_files(self, folder: Path) -> Iterator[Path]:
        """Return the files of references in ``folder`` that no test collected there uses."""
        modules = [module for module in self._modules if module.parent == folder]
        collected = {file_name(module.stem) for module in modules}
        present = {file_name(module.stem) for module in folder.glob("*.py")}
        for path in sorted((folder / FOLDER).glob(f"*/*{SCORES_SUFFIX}")):
            # A module that collect_ignore or a skip leaves out may use its references.
            is_left_out = path.parent.name in present - collected
            if not is_left_out and same_file(path) not in self._users:
                yield path


def _references(files: Iterator[Path]) -> list[Path]:
    """Return one path for the files of a reference."""
    return list(dict.fromkeys(file.with_name(f"{_bare(file.name)}.*") for file in files))


def _bare(name: str) -> str:
    suffixes = (PROGRAM_SUFFIX, HISTORY_SUFFIX, SCORES_SUFFIX)
    return name.removesuffix(next(filter(name.endswith, suffixes)))


def _is_narrowed(config: pytest.Config) -> bool:
    if any(getattr(config.option, name, None) for name in _NARROWING):
        return True
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return False
    # A folder is collected with all its references; a file or a node id is not.
    start = config.invocation_params.dir
    return not all((start / argument).is_dir() for argument in config.args)

from __future__ import annotations

import ast
import importlib.util
import py_compile
import sys
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

import pytest
from fingerprints import simple_task

from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import add_loader, metric_key, task_fingerprint
from pytest_mipro.fingerprint.bytecode import lambda_index
from pytest_mipro.fingerprint.source import source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

HEAD = "def metric(example, prediction, trace=None):\n    return "
METRIC = f"{HEAD}0.25\n"
EDITED = f"{HEAD}0.75\n"


def import_file(path: Path, loader: type[SourceFileLoader] = SourceFileLoader) -> ModuleType:
    """Import a file as a module that no other import returns."""
    spec = importlib.util.spec_from_file_location(
        path.stem, path, loader=loader(path.stem, str(path))
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the path of a file in a folder of its own; only tests write its bytecode."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / "scorer.py"
    sys.modules.pop("scorer", None)


EDITS: dict[str, tuple[str, str]] = {
    "a number": (METRIC, EDITED),
    "a call": (f"{HEAD}len(prediction)\n", f"{HEAD}sum(prediction)\n"),
    "an operator": (f"{HEAD}prediction < 1\n", f"{HEAD}prediction > 1\n"),
    "an argument": (METRIC, METRIC.replace("trace", "steps")),
    "an inner function": (
        f"{HEAD}[(lambda: 1)() for _ in 'a']\n",
        f"{HEAD}[(lambda: 2)() for _ in 'a']\n",
    ),
    "a helper": (
        f"def helper():\n    return 1\n{HEAD}helper()\n",
        f"def helper():\n    return 2\n{HEAD}helper()\n",
    ),
    "a method of a class": (
        "class Judge:\n    def __call__(self, *args):\n        return 1\nmetric = Judge()\n",
        "class Judge:\n    def __call__(self, *args):\n        return 2\nmetric = Judge()\n",
    ),
    "a lambda": ("metric = lambda e, p, trace=None: 1\n", "metric = lambda e, p, trace=None: 2\n"),
    "the whole file": (METRIC, "# Nothing is left.\n"),
}


@pytest.mark.parametrize("imported, edited", EDITS.values(), ids=EDITS)
def test_file_that_was_edited_after_its_import_is_refused(
    file: Path, imported: str, edited: str
) -> None:
    """Code that runs has no key where its file has other code; the error says what to do."""
    file.write_text(imported, encoding="utf-8")
    metric = import_file(file).metric
    file.write_text(edited, encoding="utf-8")

    with pytest.raises(FingerprintError, match=r"does not run the code .* scorer\.py.* run again"):
        metric_key(metric)


@pytest.mark.parametrize("imported, edited", EDITS.values(), ids=EDITS)
def test_key_with_a_version_is_that_of_the_code_that_runs(
    file: Path, imported: str, edited: str
) -> None:
    """A declared version lets other code run, whose key no file gives later."""
    file.write_text(imported, encoding="utf-8")
    old_code = import_file(file).metric
    file.write_text(edited, encoding="utf-8")
    key = metric_key(old_code, "1")

    file.write_text(imported, encoding="utf-8")
    keys = [metric_key(import_file(file).metric, "1")]
    if edited in {edit for _, edit in EDITS.values() if "metric" in edit}:
        file.write_text(edited, encoding="utf-8")
        keys.append(metric_key(import_file(file).metric, "1"))

    assert key not in keys


def test_outdated_compiled_file_is_refused(file: Path) -> None:
    """A compiled file that Python takes for current, by its time and size, does not pass for it."""
    file.write_text(METRIC, encoding="utf-8")
    py_compile.compile(str(file), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    file.write_text(EDITED, encoding="utf-8")
    metric = import_file(file).metric
    assert metric(None, None) == pytest.approx(0.25)

    with pytest.raises(FingerprintError, match="__pycache__"):
        task_fingerprint(simple_task(metric))


def test_edit_that_only_moves_code_changes_no_key(file: Path) -> None:
    """Comments and other functions may change while the code runs."""
    file.write_text(METRIC, encoding="utf-8")
    key = metric_key(import_file(file).metric)
    file.write_text(METRIC, encoding="utf-8")
    metric = import_file(file).metric
    file.write_text(f"# A comment.\ndef unused():\n    return 1\n\n\n{METRIC}", encoding="utf-8")

    assert metric_key(metric) == key
    assert source_of(metric).first_line == 6


class Doubling(SourceFileLoader):
    """Imports a file with its numbers doubled, as a library's import hook might."""

    def source_to_code(  # type: ignore[override]  # the stubs have another base class
        self, data: Any, path: Any, *, _optimize: int = -1
    ) -> Any:
        tree = ast.parse(data)
        double(tree, data, str(path))
        return compile(tree, path, "exec", dont_inherit=True)


def double(tree: ast.Module, data: bytes, path: str) -> None:
    """Double the numbers in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            node.value *= 2


def test_code_of_an_unknown_loader_has_a_key_of_its_own(file: Path) -> None:
    """What an import hook makes of a file is part of the key, besides the file."""
    file.write_text(METRIC, encoding="utf-8")
    plain, doubled = import_file(file).metric, import_file(file, Doubling).metric
    assert (plain(None, None), doubled(None, None)) == (0.25, 0.5)

    assert metric_key(plain) != metric_key(doubled)


def test_code_of_an_added_loader_is_compared_with_its_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that a loader is known to make of a file has the file's key, and no other code has."""
    monkeypatch.setattr("pytest_mipro.fingerprint.bytecode._rewrites", {SourceFileLoader: None})
    add_loader(Doubling, double)
    file.write_text(METRIC, encoding="utf-8")
    key = metric_key(import_file(file).metric)
    metric, outdated = (import_file(file, Doubling).metric for _ in range(2))

    assert metric_key(metric) == key
    file.write_text(EDITED, encoding="utf-8")
    with pytest.raises(FingerprintError, match="does not run the code"):
        metric_key(outdated)


@pytest.mark.parametrize(
    "line",
    [
        "CHECKS = lambda: 1, lambda: 2, lambda: 3",
        "CHECKS = (lambda: (lambda: 2))(), (lambda: (lambda a: a))(), lambda: (lambda: 2)",
        "CHECKS = [make() for make in [lambda: lambda: 1, lambda: lambda: 2]]",
        "CHECKS = [lambda a=(lambda: 1): a, lambda a=(lambda: 2): (a, 1)]",
        "CHECKS = (lambda x: (lambda: x, lambda: (x, x)))(1)",
        "CHECKS = {'a': lambda: 1, 'b': (lambda: 2 if CHECKS else (lambda: 3)())}.values()",
    ],
)
def test_lambdas_on_one_line_are_told_apart(file: Path, line: str) -> None:
    """Each lambda has the tree of its own code, on every Python."""
    file.write_text(f"{line}\n", encoding="utf-8")
    for check in import_file(file).CHECKS:
        node = source_of(check).node
        assert isinstance(node, ast.Lambda)
        code = compile(ast.Expression(node.body), "", "eval")
        constants = {value for value in check.__code__.co_consts if isinstance(value, int)}
        assert constants <= {value for value in code.co_consts if isinstance(value, int)}


def test_lambda_that_is_not_on_the_line_has_no_place() -> None:
    """Code that no lambda of a line compiles to is the code of none of them."""
    assert lambda_index((lambda: 3).__code__, "A = lambda: 1, lambda: 2\n", 1) is None


def test_code_of_no_file_has_its_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that was made of a text has a key, which its code changes."""

    def define(value: int) -> Callable[..., object]:
        namespace: dict[str, Any] = {"__name__": "made"}
        exec(f"def metric(e, p, trace=None):\n    return {value}\n", namespace)
        metric: Callable[..., object] = namespace["metric"]
        return metric

    monkeypatch.delitem(sys.modules, "made", raising=False)
    assert metric_key(define(1)) == metric_key(define(1)) != metric_key(define(2))

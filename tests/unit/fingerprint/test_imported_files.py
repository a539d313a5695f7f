from __future__ import annotations

import importlib
import py_compile
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import metric_key, remember_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.uses("dspy", "pydantic")

METRIC = "def metric(example, prediction, trace=None):\n    return helper()\n"
EDITS = {
    "the arguments of a decorator": (
        "import functools\n@functools.lru_cache(maxsize=1)\ndef helper():\n    return 1\n",
        "maxsize=1",
        "maxsize=2",
    ),
    "an annotation": ("def helper(word: int = 1):\n    return word\n", "int", "str"),
    "a limit of a model's field": (
        "import pydantic as p\nclass helper(p.BaseModel):\n    word: int = p.Field(1, ge=1)\n",
        "ge=1",
        "ge=2",
    ),
    "the type of a model's field": (
        "import pydantic\nclass helper(pydantic.BaseModel):\n    word: 'int' = 1\n",
        "'int'",
        "'str'",
    ),
    "a decorator of a class": (
        "import dataclasses\n@dataclasses.dataclass(eq=True)\nclass helper:\n    word: int = 1\n",
        "eq=True",
        "eq=None",
    ),
    "an attribute of a class": ("class helper:\n    word = 1\n", "= 1", "= 2"),
}
"""Code that metrics use, and edits of it that change no bytecode of a function."""


class Scorer:
    """A module with a metric, in a file that is edited."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scorer.py"

    def write(self, code: str) -> None:
        """Write the file, with the time and the size that it has."""
        self.path.write_text(f"{code}{METRIC}", encoding="utf-8")

    def load(self) -> ModuleType:
        """Import the file anew."""
        sys.modules.pop("scorer", None)
        importlib.invalidate_caches()
        return importlib.import_module("scorer")


@pytest.fixture
def scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scorer]:
    """Return a module whose bytecode only tests write."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    yield Scorer(tmp_path)
    sys.modules.pop("scorer", None)


@pytest.mark.parametrize("code, old, new", EDITS.values(), ids=EDITS)
def test_definition_that_was_edited_after_its_import_is_refused(
    scorer: Scorer, code: str, old: str, new: str
) -> None:
    """What is no function's code counts as that does; with a version, no file has the key later."""
    scorer.write(code)
    metric = scorer.load().metric
    remember_files()
    scorer.write(code.replace(old, new))

    with pytest.raises(FingerprintError, match=r"does not run the code .* scorer\.py"):
        metric_key(metric)

    keys = {metric_key(metric, "1"), metric_key(scorer.load().metric, "1")}
    scorer.write(code)
    assert len(keys | {metric_key(scorer.load().metric, "1")}) == 3


@pytest.mark.parametrize("code, old, new", EDITS.values(), ids=EDITS)
def test_definition_in_an_outdated_compiled_file_is_refused(
    scorer: Scorer, code: str, old: str, new: str
) -> None:
    """Python runs a compiled file that it takes for current."""
    scorer.write(code)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(scorer.path), invalidation_mode=mode)
    scorer.write(code.replace(old, new))

    with pytest.raises(FingerprintError, match="__pycache__"):
        metric_key(scorer.load().metric)


@pytest.mark.parametrize("code", [code for code, _, _ in EDITS.values()], ids=EDITS)
def test_edit_elsewhere_in_the_file_changes_no_key(scorer: Scorer, code: str) -> None:
    """A file may be edited while a test runs; the key is that of what the test uses."""
    scorer.write(code)
    key = metric_key(scorer.load().metric)
    metric = scorer.load().metric
    remember_files()
    scorer.write(f"# A comment.\n{code}class Other:\n    pass\n")

    assert metric_key(metric) == key


def test_file_that_was_no_python_is_refused(scorer: Scorer) -> None:
    """Nothing is known of the definitions of a file that was broken when it was read."""
    code, _, _ = EDITS["an attribute of a class"]
    scorer.write(code)
    metric = scorer.load().metric
    scorer.path.write_text("class (", encoding="utf-8")
    remember_files()
    scorer.write(code)

    with pytest.raises(FingerprintError, match="does not run the code"):
        metric_key(metric)


@pytest.mark.parametrize("way", ["import", "reload"])
def test_a_module_is_remembered_among_many_others(scorer: Scorer, way: str) -> None:
    """Another load of it is found wherever it stands among them."""
    names = [f"imported_beside{number}" for number in range(40)]

    def import_others() -> None:
        for name in names:
            sys.modules.pop(name, None)
            (scorer.path.parent / f"{name}.py").touch()
            importlib.import_module(name)

    code, old, new = EDITS["an attribute of a class"]
    scorer.write(code.replace(old, new))
    module = scorer.load()
    import_others()
    remember_files()
    scorer.write(code)
    module = importlib.reload(module) if way == "reload" else scorer.load()
    import_others()
    remember_files()
    scorer.write(code.replace(old, new))

    with pytest.raises(FingerprintError, match="does not run the code"):
        metric_key(module.metric)
    for name in names:
        sys.modules.pop(name)

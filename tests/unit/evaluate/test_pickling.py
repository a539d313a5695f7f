from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

import pytest
from fingerprints import loading
from growth import growing

from pytest_mipro.evaluate.pickling import pickled

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.uses("cloudpickle")


def test_modules_that_other_threads_import_stop_nothing() -> None:
    """Rows are sent from several threads, while a program may import something."""
    with growing(sys.modules):
        sent = pickled({"question": "2 + 1"}, {})
    assert pickle.loads(sent) == {"question": "2 + 1"}


def test_a_module_that_is_imported_anew_crosses_by_value(tmp_path: Path) -> None:
    """As many modules are not the same ones."""
    with loading(tmp_path) as load:
        sent = [pickled(load({"prog.py": f"def answer(): return {n}"}).answer, {}) for n in (1, 2)]
    assert [pickle.loads(function)() for function in sent] == [1, 2]

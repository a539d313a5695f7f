from __future__ import annotations

import pickle
import sys

import pytest
from growth import growing

from pytest_mipro.evaluate.pickling import pickled

pytestmark = pytest.mark.uses("cloudpickle")


def test_modules_that_other_threads_import_stop_nothing() -> None:
    """Rows are sent from several threads, while a program may import something."""
    with growing(sys.modules):
        sent = pickled({"question": "2 + 1"}, {})
    assert pickle.loads(sent) == {"question": "2 + 1"}

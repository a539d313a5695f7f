from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fingerprints import evaluation_key, simple_task

from pytest_mipro.fingerprint import task_fingerprint

if TYPE_CHECKING:
    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")


@pytest.mark.parametrize(
    "code",
    [
        (
            "JUDGE = None\ndef metric(e, p, trace=None):\n    global JUDGE\n"
            "    JUDGE = JUDGE or object()\n    return True\n"
        ),
        (
            "def make():\n    count = 0\n    def metric(e, p, trace=None):\n"
            "        nonlocal count\n        count += 1\n        return True\n    return metric\n"
            "metric = make()\n"
        ),
        "def metric(e, p, trace=None):\n    metric.calls += 1\n    return True\nmetric.calls = 0\n",
        (
            "KNOWN = {}\ndef judge(question):\n    if question not in KNOWN:\n"
            "        KNOWN[question] = True\n    return KNOWN[question]\n"
            "def metric(e, p, trace=None):\n    return judge(e)\n"
        ),
        "COUNT = {'calls': 0}\ndef metric(e, p, trace=None):\n    COUNT['calls'] += 1\n",
        "SEEN = []\ndef metric(e, p, trace=None):\n    SEEN.append(p)\n    return True\n",
        (
            "def make():\n    known = {}\n    def metric(e, p, trace=None):\n"
            "        return known.setdefault(p, True)\n    return metric\nmetric = make()\n"
        ),
        (
            "def metric(e, p, trace=None):\n    metric.seen.add(p)\n    return True\n"
            "metric.seen = set()\n"
        ),
        "def metric(e, p, trace=None, known={}):\n    return known.setdefault(p, True)\n",
        "def metric(e, p, trace=None, *, seen=[]):\n    seen.append(p)\n    return True\n",
        (
            "KNOWN = {'a': {}}\ndef metric(e, p, trace=None):\n    KNOWN['a']['b'] = p\n"
            "    return True\n"
        ),
        (
            "class Judge:\n    def __init__(self):\n        self.known, self.calls = {}, 0\n"
            "    def __call__(self, e, p, trace=None):\n        self.calls += 1\n"
            "        return self.judge(p)\n"
            "    def judge(self, p):\n        return self.known.setdefault(p, True)\n"
            "metric = Judge()\n"
        ),
    ],
    ids=[
        *("global", "closure", "attribute"),
        *("global dictionary", "counter", "global list", "dictionary in a closure", "set"),
        *("default", "default of a keyword", "item of an item", "attributes of an object"),
    ],
)
def test_memory_of_a_metric_changes_no_key(load: Load, code: str) -> None:
    """A value that a function sets or mutates itself is no part of a key."""
    task = simple_task(load({"user_code.py": code}).metric)
    keys = (task_fingerprint(task).key, evaluation_key(task))

    task.metric(None, None)

    assert (task_fingerprint(task).key, evaluation_key(task)) == keys


def test_state_from_before_the_calls_changes_the_key(load: Load) -> None:
    """An attribute that only methods outside of a call mutate is no memory."""
    code = (
        "class Judge:\n    def __init__(self):\n        self.words = ['always']\n"
        "    def add(self, word):\n        self.words.append(word)\n        return self\n"
        "    def __call__(self, e, p, trace=None):\n        return p in self.words\n"
        "metric = Judge().add('before')\n"
    )
    original = simple_task(load({"user_code.py": code}).metric)
    edited = simple_task(load({"user_code.py": code.replace("'before'", "'after'")}).metric)
    assert task_fingerprint(edited).key != task_fingerprint(original).key


def test_items_that_are_used_up_are_no_memory(load: Load) -> None:
    """What an object takes items from decides what it returns, as a list of answers does."""
    code = (
        "class Judge:\n    def __init__(self, words):\n        self.words = words\n"
        "    def __call__(self, e, p, trace=None):\n        return self.words.pop()\n"
    )
    judge = load({"user_code.py": code}).Judge

    keys = [task_fingerprint(simple_task(judge(words))).key for words in (["a"], ["a"], ["b"])]

    assert keys[0] == keys[1] != keys[2]

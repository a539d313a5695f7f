from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from fingerprints import assert_changes, evaluation_key, holding, simple_task
from ticket_project import edited

from pytest_mipro.errors import DeclarationError, FingerprintError
from pytest_mipro.fingerprint import task_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")


@pytest.mark.parametrize(
    "code, old, new",
    [
        (
            (
                "RULES = {'a': {'b': 1, 'c': 2}, 'd': 3}\n"
                "def metric(e, p, trace=None):\n    return RULES\n"
            ),
            "{'a': {'b': 1, 'c': 2}, 'd': 3}",
            "{'d': 3, 'a': {'c': 2, 'b': 1}}",
        ),
        (
            (
                "def make(rules):\n    def metric(e, p, trace=None):\n        return rules\n"
                "    return metric\nmetric = make({'a': 1, 'b': 2})\n"
            ),
            "{'a': 1, 'b': 2}",
            "{'b': 2, 'a': 1}",
        ),
        (
            (
                "import dspy\njudge = dspy.Predict('a -> b', extra_body={'min_p': 1, 'top_k': 2})\n"
                "def metric(e, p, trace=None):\n    return judge(a=p.answer)\n"
            ),
            "{'min_p': 1, 'top_k': 2}",
            "{'top_k': 2, 'min_p': 1}",
        ),
        (
            (
                "import dspy\njudge = dspy.Predict('a -> b')\n"
                "judge.demos = [dspy.Example(a='1', b='2')]\n"
                "def metric(e, p, trace=None):\n    return judge(a=p.answer)\n"
            ),
            "a='1', b='2'",
            "b='2', a='1'",
        ),
    ],
    ids=["in a global", "in a closure", "in Predict.config", "of a demo"],
)
def test_order_of_a_dictionary_changes_no_key(load: Load, code: str, old: str, new: str) -> None:
    """Equal dictionaries with different orders of keys have the same description."""
    files = {"user_code.py": code}
    original = simple_task(load(files).metric)

    reordered = simple_task(load(edited("user_code.py", old, new, files)).metric)

    assert task_fingerprint(reordered).key == task_fingerprint(original).key
    assert evaluation_key(reordered) == evaluation_key(original)


@pytest.mark.parametrize("make", [dict, dspy.Example], ids=["dictionary", "example"])
def test_value_that_contains_itself_has_a_key(make: Callable[..., Any]) -> None:
    """A cyclic value in a closure has a key, which its other items change."""

    def cyclic(word: str) -> object:
        value = make(word=word)
        value["itself"] = [value]
        return value

    keys = [task_fingerprint(simple_task(holding(cyclic(word)))).key for word in "aab"]

    assert keys[0] == keys[1] != keys[2]


WITHOUT_CONTENT = {
    "an object": object,
    "an iterator": lambda: iter([1]),
    "a generator": lambda: (n for n in range(3)),
    "an object inside a list": lambda: [object()],
    "an object inside a dictionary": lambda: {"a": object()},
}


@pytest.mark.parametrize("make", WITHOUT_CONTENT.values(), ids=WITHOUT_CONTENT)
def test_value_without_content_is_refused(make: Callable[[], object]) -> None:
    """The error names the value, its type, and version= as the next step."""
    with pytest.raises(FingerprintError, match="declare version=") as error:
        task_fingerprint(simple_task(holding(make())))

    assert "value in metric is <" in str(error.value)
    assert isinstance(error.value, DeclarationError)


@pytest.mark.parametrize("make", WITHOUT_CONTENT.values(), ids=WITHOUT_CONTENT)
def test_version_stands_for_a_value_without_content(make: Callable[[], object]) -> None:
    """With version= there is a key, which the version changes and the value does not."""
    first, second, bumped = (
        task_fingerprint(simple_task(holding(make()), version=version))
        for version in ("1", "1", "2")
    )

    assert_changes(first, second)
    assert_changes(first, bumped, "declared version changed")


def test_version_hides_no_value_with_content() -> None:
    """With version=, a closure value with content still changes the key."""
    first, second = (
        task_fingerprint(simple_task(holding(value), version="1")) for value in ("a", "b")
    )

    assert first.key != second.key


def test_generator_in_a_closure_is_not_consumed() -> None:
    """The description of a metric reads no iterator in its closure."""
    numbers = iter([1, 2, 3])

    task_fingerprint(simple_task(holding(numbers), version="1"))

    assert list(numbers) == [1, 2, 3]


def test_evaluation_key_refuses_a_value_without_content() -> None:
    """A value without content has no evaluation key, unless a version is declared."""
    task = simple_task(holding(object()))

    with pytest.raises(FingerprintError, match="version="):
        evaluation_key(task)
    assert evaluation_key(replace(task, version="1")) != evaluation_key(replace(task, version="2"))


def test_empty_closure_cell_has_a_key() -> None:
    """A closure variable that is bound later is described as None."""

    def make() -> Any:
        def metric(example: dspy.Example, prediction: Any, trace: object = None) -> Any:
            return later

        key = task_fingerprint(simple_task(metric)).key
        later = 1
        return key, later

    key, _ = make()
    assert re.fullmatch(r"[0-9a-f]{32}", key)


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_lock_changes_no_key(make: Callable[[], object]) -> None:
    """A lock decides when a metric runs, and not what it returns."""
    first, second = (task_fingerprint(simple_task(holding(make()))).key for _ in range(2))

    assert first == second


class Pages(dspy.Retrieve):
    """A retriever of the user's."""

    def __init__(self, folder: str) -> None:
        super().__init__(k=2)
        self.folder = folder


@pytest.mark.parametrize(
    "make",
    [
        lambda text: dspy.ColBERTv2(url=text),
        lambda text: dspy.Embedder(lambda texts: [[len(text)]], batch_size=len(text)),
        lambda text: dspy.PythonInterpreter(enable_env_vars=[text]),
        lambda text: [dspy.Image(f"http://one.example/{text}.png")],
        lambda text: dspy.Retrieve(k=len(text)),
        Pages,
    ],
    ids=["ColBERTv2", "Embedder", "PythonInterpreter", "Image", "Retrieve", "the user's Retrieve"],
)
def test_object_of_dspy_is_described_by_its_state(make: Callable[[str], object]) -> None:
    """What an object of DSPy holds changes the key, as the state of the user's own does."""
    keys = [task_fingerprint(simple_task(holding(make(text)))).key for text in ("a", "a", "bc")]

    assert keys[0] == keys[1] != keys[2]

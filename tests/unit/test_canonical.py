from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import io
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import uuid
from contextlib import redirect_stdout
from typing import Any

import dspy
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.canonical import canonical_json, digest, plain, scalars
from pytest_mipro.errors import FingerprintError

TEXT = st.text(st.characters(codec=None))  # with control characters and lone surrogates
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
FINITE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
JSON_DATA = st.recursive(
    FINITE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [0, 1, 1.5, None, True, False, (1,), *("0", "1", "1.5", "null", "true", "[1]")]
)


class Label(enum.Enum):
    GOOD = "good"
    BAD = 2


class Word(str, enum.Enum):
    GOOD = "good"


class Level(enum.IntEnum):
    HIGH = 3


class EqualByName(type):  # ruff: ignore[eq-without-hash]  # it is what is tested
    """The class of classes that are equal by their names, and so have no hash."""

    def __eq__(cls, other: object) -> bool:
        return isinstance(other, type) and cls.__name__ == other.__name__


class Spoken(str, metaclass=EqualByName):  # ruff: ignore[subclass-builtin]  # it is what is tested
    __slots__ = ()


class Loud(str):  # ruff: ignore[subclass-builtin]  # it is what is tested
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


@dataclasses.dataclass
class Rubric:
    words: set[str]
    weight: float = 1.0


class Model(pydantic.BaseModel):
    words: set[str]
    parent: Model | None = None


def _reordered(value: Any) -> Any:
    """Return ``value`` with every dictionary and set built in reverse order."""
    if isinstance(value, dict):
        return {key: _reordered(item) for key, item in reversed(list(value.items()))}
    if isinstance(value, list):
        return [_reordered(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value)(reversed(list(value)))
    return value


# --- Canonical JSON ------------------------------------------------------------------------


@given(JSON_DATA)
def test_canonical_json_keeps_the_value(value: Any) -> None:
    """The text is plain ASCII JSON without spaces that stands for the same value."""
    text = canonical_json(value)

    assert text.isascii()
    assert canonical_json(json.loads(text)) == text
    assert json.loads(text) == json.loads(json.dumps(value))


@given(JSON_DATA)
def test_canonical_json_ignores_the_order_of_keys(value: Any) -> None:
    """Dictionaries that are equal have one text."""
    assert canonical_json(_reordered(value)) == canonical_json(value)


@given(JSON_DATA, JSON_DATA)
def test_different_text_means_different_digest(first: Any, second: Any) -> None:
    """Digests agree exactly where the canonical texts do."""
    assert (digest(first) == digest(second)) == (canonical_json(first) == canonical_json(second))


@pytest.mark.parametrize(
    "first, second",
    [
        (1, "1"),
        (1, True),
        (0, False),
        (None, "null"),
        (None, "None"),
        ([], {}),
        ([1, [2]], [[1], 2]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": "b"}, ["a", "b"]),
        ("", None),
        ("\u00e9", "e\u0301"),
        ("a", "a "),
        (math.inf, "inf"),
    ],
)
def test_values_that_differ_have_different_digests(first: Any, second: Any) -> None:
    """Types, nesting and whitespace count."""
    assert digest(plain(first)) != digest(plain(second))


def test_canonical_json_is_compact_and_sorted() -> None:
    """The text of a value is fixed."""
    assert canonical_json({"b": [1, 2.5, None], "a": "é\n"}) == r'{"a":"\u00e9\n","b":[1,2.5,null]}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_what_json_cannot_say(value: float) -> None:
    """Non-finite numbers have no JSON text."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([value])


def test_digest_is_stable() -> None:
    """The digests of known values do not change between versions."""
    assert digest({"question": "Why?", "n": 1}) == "714e4801571fb13ef8f5d18e4232d756"
    assert re.fullmatch(r"[0-9a-f]{32}", digest(None))


# --- Plain data ----------------------------------------------------------------------------


@given(JSON_DATA)
def test_plain_leaves_json_data_alone(value: Any) -> None:
    """JSON data stays unchanged."""
    assert plain(value) == value
    assert plain(plain(value)) == plain(value)


@given(st.dictionaries(KEYS, SCALARS, max_size=5))
def test_plain_ignores_the_order_of_keys_of_any_type(value: dict[Any, Any]) -> None:
    """Equal dictionaries are one value, also where keys are not strings."""
    assert digest(plain(_reordered(value))) == digest(plain(value))


@given(st.dictionaries(KEYS, st.integers(), max_size=5), KEYS, st.integers())
def test_plain_keeps_every_item_of_a_mapping(value: dict[Any, Any], key: object, item: int) -> None:
    """Changing any one item changes the digest; no key hides another."""
    changed = {**value, key: item}

    assert (digest(plain(changed)) == digest(plain(value))) == (
        list(map(repr, sorted(changed.items(), key=repr)))
        == list(map(repr, sorted(value.items(), key=repr)))
    )


@given(st.sets(st.text(max_size=3) | st.integers() | st.tuples(st.integers())))
def test_plain_ignores_the_order_of_sets(value: set[Any]) -> None:
    """Equal sets, frozen or not, are one value."""
    expected = digest(plain(value))

    assert digest(plain(_reordered(value))) == expected
    assert digest(plain(frozenset(value))) == expected


@given(st.lists(st.integers(), min_size=2, unique=True))
def test_plain_minds_the_order_of_lists(value: list[int]) -> None:
    """A list in another order is another value."""
    assert digest(plain(value[::-1])) != digest(plain(value))
    assert digest(plain(tuple(value))) == digest(plain(value))


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, None),
        (True, True),
        (0, 0),
        (10**40, 10**40),
        (-0.5, -0.5),
        (math.nan, {"float": "nan"}),
        (math.inf, {"float": "inf"}),
        (-math.inf, {"float": "-inf"}),
        ([math.nan], [{"float": "nan"}]),
        ("", ""),
        ("\ud800\x00\u2028", "\ud800\x00\u2028"),
        (b"ab", "YWI="),
        (bytearray(b"ab"), "YWI="),
        ((1, (2,)), [1, [2]]),
        (range(3), [0, 1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "null": "b", "[1,2]": "c"}),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(2.5), 2.5),
        (np.array([[1.5, 2.0], [3.0, math.inf]]), [[1.5, 2.0], [3.0, {"float": "inf"}]]),
        ({1: "a", "1": "b"}, {"items": [["1", "b"], [1, "a"]]}),
        (np.float32("nan"), {"float": "nan"}),
        (dt.date(2026, 2, 3), "2026-02-03"),
        (decimal.Decimal("1.50"), "1.50"),
        (pathlib.Path("a", "b"), str(pathlib.Path("a", "b"))),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Label.GOOD, "good"),
        (Label.BAD, 2),
        (Level.HIGH, 3),
        (Word.GOOD, "good"),
        (Loud("a"), "a"),
        (Spoken("a"), "a"),
        (Rubric({"a"}, math.inf), {"words": ["a"], "weight": {"float": "inf"}}),
        (Model(words={"a"}), {"words": ["a"], "parent": None}),
        (dspy.Example(a=1, b={2}), {"a": 1, "b": [2]}),
        (dspy.Prediction(a=[dspy.Example(b=1)]), {"a": [{"b": 1}]}),
    ],
    ids=repr,
)
def test_plain(value: object, expected: object) -> None:
    """Each kind of value has one JSON form."""
    data = plain(value)

    assert data == expected
    assert type(data) is type(expected)
    json.loads(canonical_json(data))


def test_plain_of_a_number_is_a_number_of_python() -> None:
    """The JSON form has no NumPy types."""
    assert type(plain(np.float64(0.5))) is float
    assert type(plain(Level.HIGH)) is int


def test_plain_ends_where_a_value_holds_itself() -> None:
    """A cycle has no JSON form; the fallback stands in for all of it."""
    value: list[object] = [1]
    value.append(value)

    assert plain(value, fallback=repr) == "[1, [...]]"
    with pytest.raises(FingerprintError, match=r"has no JSON form: \[1, \[\.\.\.\]\]"):
        plain(value)


def test_plain_refuses_an_example_that_holds_itself() -> None:
    """The error also says so where the value cannot be shown."""
    example = dspy.Example(a=1)
    example.itself = example

    with pytest.raises(FingerprintError, match="has no JSON form: it contains itself"):
        plain(example)


def test_plain_refuses_what_has_no_json_form() -> None:
    """The error names the type and the value."""
    with pytest.raises(FingerprintError, match=r"type builtins\.object has no JSON form: <object"):
        plain({"a": [object()]})


def test_plain_falls_back() -> None:
    """The fallback stands in wherever the value is, and its answer is reduced in turn."""
    assert plain([{"a": object()}, 1], fallback=lambda _: {3, 2}) == [{"a": [2, 3]}, 1]


def test_plain_does_not_consume_an_iterator() -> None:
    """Converting an iterator does not exhaust it."""
    numbers = iter([1, 2])

    assert plain([numbers], fallback=lambda _: "iterator") == ["iterator"]
    assert list(numbers) == [1, 2]


SCRIPT = """
import dataclasses, enum, sys
import pydantic
from pytest_mipro.canonical import digest, plain

words = ["billing", "sales", "support", "legal", "returns", "press"]

@dataclasses.dataclass
class Rubric:
    words: set

class Model(pydantic.BaseModel):
    words: frozenset[str]

values = {
    "set": set(words),
    "frozenset in a list": [frozenset(words)],
    "set of tuples": {(word, 1) for word in words},
    "set of mixed types": {*words, 1, 2.5, None, True},
    "dictionary": {word: set(words) for word in set(words)},
    "set as a key": {frozenset(words): 1},
    "dataclass with a set": Rubric(set(words)),
    "model with a set": Model(words=frozenset(words)),
    "dataclass in a dictionary": {"a": [Rubric(set(words))]},
}
print("\\n".join(f"{name}: {digest(plain(value))}" for name, value in values.items()))
"""
VALUES = re.findall(r'^    "([\w ]+)": ', SCRIPT, re.MULTILINE)


@pytest.fixture(scope="module")
def digests() -> list[dict[str, str]]:
    """Return the digests of the script's values under the hash seeds of two processes."""
    with redirect_stdout(io.StringIO()) as here:
        exec(SCRIPT, {"__name__": "__main__"})
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    outputs = (here.getvalue(), there.stdout)
    return [dict(line.split(": ") for line in output.splitlines()) for output in outputs]


@pytest.mark.parametrize("name", VALUES)
def test_digest_is_the_same_under_every_hash_seed(digests: list[dict[str, str]], name: str) -> None:
    """The order in which a process walks a set is no part of the digest."""
    first, second = digests

    assert first[name] == second[name]


class Address(pydantic.BaseModel):
    """A user's own type."""

    lines: list[str]
    rating: float = math.nan


def test_scalars_are_those_of_all_containers() -> None:
    """Keys count, a text is no list of characters, and a model or an array is a container."""
    value = {"a": ["bc", {1, 1.5}], "d": dspy.Example(e=b"f"), "g": Address(lines=["h"])}

    texts = [repr(scalar) for scalar in scalars([value, np.array([[2.5]])])]

    expected = ["'a'", "'bc'", "1", "1.5", "'d'", "'e'", "b'f'", "'g'", "'lines'", "'h'"]
    assert texts == [*expected, "'rating'", "nan", "2.5"]

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from alterations import ALTERATIONS
from fingerprints import assert_changes, changes_between, simple_task
from hypothesis import given
from hypothesis import strategies as st
from ticket_project import FILES, PROGRAM, edited

from pytest_mipro.fingerprint import Fingerprint, task_fingerprint
from pytest_mipro.fingerprint.changes import words
from pytest_mipro.fingerprint.parts import Kind, Part

if TYPE_CHECKING:
    import dspy
    from alterations import Alter
    from fingerprints import Load


@dataclass(frozen=True)
class Edit:
    """An edit of the user's files, and the changes in words; none if the key stays."""

    changes: tuple[str, ...]
    old: str
    new: str
    file: str = "user_code.py"


EDITS = {
    "instruction": Edit(
        ("instruction of classify changed",), '"""Route the ticket."""', '"""Route it."""'
    ),
    "field type": Edit(
        ("fields of classify changed",), '["billing", "sales"]', '["billing", "sales", "legal"]'
    ),
    "field description": Edit(("fields of classify changed",), "who answers", "who replies"),
    "field constraint": Edit(
        ("fields of classify changed",), "dspy.OutputField(ge=0)", "dspy.OutputField(ge=0.5)"
    ),
    "field default": Edit(("fields of classify changed",), 'default="en"', 'default="de"'),
    "field renamed": Edit(("fields of classify changed",), "certainty:", "confidence:"),
    "fields reordered": Edit(
        ("fields of classify changed",),
        '    queue: Literal["billing", "sales"] = dspy.OutputField(desc="who answers")\n'
        "    certainty: float = dspy.OutputField(ge=0)\n",
        "    certainty: float = dspy.OutputField(ge=0)\n"
        '    queue: Literal["billing", "sales"] = dspy.OutputField(desc="who answers")\n',
    ),
    "Predict.config": Edit(
        ("code of user_code.Router changed", "config of classify changed"),
        "temperature=0.5",
        "temperature=0.7",
    ),
    "string signature": Edit(
        (
            "code of user_code.Router changed",
            "fields of explain.predict changed",
            "instruction of explain.predict changed",
        ),
        "queue -> reason",
        "queue -> cause",
    ),
    "module source": Edit(
        ("code of user_code.Router changed",), "prepare(ticket))", 'prepare(ticket) + "?")'
    ),
    "base class": Edit(("code of user_code.Base changed",), "text.strip()", "text.lstrip()"),
    "helper of the program": Edit(
        ("code of user_code.clean changed",), "text[:LIMIT]", "text[-LIMIT:]"
    ),
    "global constant": Edit(
        ("value of LIMIT in user_code.clean changed",), "LIMIT = 200", "LIMIT = 300"
    ),
    "global set": Edit(("value of KNOWN in metric changed",), '"support", "legal"', '"support"'),
    "global pattern": Edit(("value of WORD in metric changed",), '"[a-z]+"', '"[A-Z]+"'),
    "global pattern's flags": Edit(
        ("value of WORD in metric changed",), '"[a-z]+"', '"[a-z]+", re.IGNORECASE'
    ),
    "function in a global table": Edit(("value of CHECKS in metric changed",), "a == b", "a is b"),
    "metric body": Edit(("metric changed",), "            return 0\n", "            return 0.5\n"),
    "metric closure value": Edit(
        ("value of weight in metric changed",), "make_metric(1)", "make_metric(2)"
    ),
    "default argument": Edit(("metric changed",), "slack=0.1", "slack=0.2"),
    "keyword default": Edit(("metric changed",), "power=2", "power=3"),
    "helper of the metric": Edit(
        ("code of user_code.similar changed",), "squash(left) ==", "squash(left) !="
    ),
    "imported helper": Edit(
        ("code of wording.squash changed",), '"".join', '"-".join', "wording.py"
    ),
    "helper of an imported module": Edit(
        ("code of wording.fold changed",), "casefold", "lower", "wording.py"
    ),
    "comment": Edit((), "# Long tickets say little in the end.", "# Just so."),
    "comment removed": Edit((), "        # Long tickets say little in the end.\n", ""),
    "blank lines": Edit((), "def similar(", "\n\n\ndef similar("),
    "line breaks": Edit(
        (),
        "    return squash(left) == wording.fold(right)",
        "    return (\n        squash(left)\n        == wording.fold(right)  # folded\n    )",
    ),
    "quotes": Edit((), '"".join', "''.join", "wording.py"),
    "unused function": Edit((), "text.upper()", "text.lower()"),
    "new unused function": Edit((), "def unused(", "def idle():\n    return 1\n\n\ndef unused("),
    "docstring of the module": Edit((), '"""Routes tickets."""', '"""Routing."""'),
    "elements of a set in another order": Edit(
        (), '"billing", "sales", "support", "legal"', '"legal", "support", "sales", "billing"'
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edit_of_a_users_file(unedited: Fingerprint, load: Load, edit: Edit) -> None:
    """An edit changes the key if and only if it can change the artifact, and has its words."""
    current = task_fingerprint(load(edited(edit.file, edit.old, edit.new)).task())

    assert_changes(unedited, current, *edit.changes)


@pytest.mark.parametrize("changes, alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_alteration_of_a_task(
    unedited: Fingerprint, load: Load, changes: tuple[str, ...], alter: Alter
) -> None:
    """A declaration changes the key if and only if it can change the artifact, and has words."""
    declared = load(FILES)

    current = task_fingerprint(alter(declared.task(), declared))

    assert_changes(unedited, current, *changes)


def test_rows_are_the_last_changes(load: Load) -> None:
    """Several changes have their words each, those of rows at the end."""
    declared = load(FILES)
    task = declared.task()
    original = task_fingerprint(task)
    rows = (*task.dataset.train, *declared.rows(20, 23))
    task = replace(task, dataset=replace(task.dataset, train=rows), lm=declared.lm(top_p=0.5))

    changes = changes_between(original, task_fingerprint(task))

    assert changes == ["model changed", "3 train rows added"]


def test_changes_of_code_have_locations(load: Load) -> None:
    """The words for changed code have its current file and line."""
    original = task_fingerprint(load(FILES).task())
    files = edited("user_code.py", "            return 0\n", "            return 0.5\n")
    files = edited("wording.py", 'return "".join', '# Now with dashes.\n    return "-".join', files)
    line = PROGRAM[: PROGRAM.index("    def graded")].count("\n") + 1

    changes = task_fingerprint(load(files).task()).changes_since(original.parts)

    assert f"metric changed (user_code.py:{line})" in changes
    assert "code of wording.squash changed (wording.py:1)" in changes


class Threshold:
    def __init__(self, least: float) -> None:
        self.least = least

    def __call__(self, example: dspy.Example, prediction: Any, trace: object = None) -> bool:
        return bool(prediction.certainty >= self.least)


def test_change_of_a_metric_object_has_no_location() -> None:
    """A metric that is no function is named without an empty location."""
    task = simple_task(Threshold(0.5))

    changes = task_fingerprint(replace(task, metric=Threshold(0.6))).changes_since(
        task_fingerprint(task).parts
    )

    assert changes == ("metric changed",)


SIGNED = """\
import dspy


class Question(dspy.Signature):
    \"\"\"Answer.\"\"\"

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="short")


class Verdict(dspy.Signature):
    \"\"\"Judge.\"\"\"

    answer: str = dspy.InputField()
    good: bool = dspy.OutputField()


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought(Question)

    def forward(self, question):
        return self.answer(question=question)


def metric(example, prediction, trace=None):
    return dspy.Predict(Verdict)(answer=prediction.answer).good


def program():
    return Program()


def reworded():
    program = Program()
    predict = program.answer.predict
    predict.signature = predict.signature.with_instructions("Answer well.")
    return program
"""


@pytest.mark.parametrize(
    "make, edits, expected",
    [
        (
            "program",
            [("Answer.", "Reply.")],
            ("instruction of answer.predict changed (user_code.py:4)",),
        ),
        (
            "program",
            [('"short"', '"brief"')],
            ("fields of answer.predict changed (user_code.py:4)",),
        ),
        (
            "reworded",
            [('"short"', '"brief"')],
            ("fields of answer.predict changed (user_code.py:4)",),
        ),
        (
            "reworded",
            [("Answer.", "Reply.")],
            ("signature user_code.Question changed (user_code.py:4)",),
        ),
        (
            "program",
            [("Judge.", "Grade.")],
            ("signature user_code.Verdict changed (user_code.py:11)",),
        ),
        (
            "program",
            [("Answer.", "Reply."), ("Judge.", "Grade.")],
            (
                "instruction of answer.predict changed (user_code.py:4)",
                "signature user_code.Verdict changed (user_code.py:11)",
            ),
        ),
    ],
)
def test_edit_of_a_signature_is_one_change(
    load: Load, make: str, edits: list[tuple[str, str]], expected: tuple[str, ...]
) -> None:
    """A signature is named by the predictor that has it, or by itself if no predictor has it."""
    files = {"user_code.py": SIGNED}
    user_code = load(files)
    original = task_fingerprint(simple_task(user_code.metric, getattr(user_code, make)()))

    for old, new in edits:
        files = edited("user_code.py", old, new, files)
    user_code = load(files)
    current = task_fingerprint(simple_task(user_code.metric, getattr(user_code, make)()))

    assert current.changes_since(original.parts) == expected


PARTS = st.dictionaries(
    st.sampled_from(
        [
            Part(Kind.METRIC),
            Part(Kind.MODEL),
            Part(Kind.ADAPTER),
            *(Part(Kind.ROW, name, split) for split in ("train", "val") for name in "abc"),
        ]
    ),
    st.sampled_from(["0", "1"]),
).map(Fingerprint)


@given(earlier=PARTS, current=PARTS)
def test_equal_keys_have_no_changes(earlier: Fingerprint, current: Fingerprint) -> None:
    """There are changes in words if and only if the keys differ."""
    assert (not current.changes_since(earlier.parts)) == (current.key == earlier.key)


@given(earlier=PARTS, current=PARTS)
def test_changed_rows_are_counted_once(earlier: Fingerprint, current: Fingerprint) -> None:
    """The counts in the words add up to the rows that differ."""
    digests = (earlier.parts, current.parts)
    parts = {*earlier.parts, *current.parts}
    changed = [part for part in parts if digests[0].get(part) != digests[1].get(part)]

    changes = current.changes_since(earlier.parts)

    counts = [int(change.split()[0]) for change in changes if change[0].isdigit()]
    rows = [part for part in changed if part.kind is Kind.ROW]
    assert sum(counts) == len(rows)
    assert len(changes) - len(counts) == len(changed) - len(rows)


def test_changes_are_in_order() -> None:
    """Changes are in alphabetical order with their locations, and counts of rows follow."""
    metric, model_part = Part(Kind.METRIC), Part(Kind.MODEL)
    rows = {name: Part(Kind.ROW, name, "train") for name in "acd"}
    earlier = Fingerprint(
        {
            metric: "1",
            model_part: "1",
            Part(Kind.EXTRA, "old"): "1",
            rows["a"]: "0",
            Part(Kind.ROW, "b", "val"): "0",
        }
    )
    digests = {
        metric: "2",
        model_part: "1",
        Part(Kind.EXTRA, "new"): "1",
        rows["a"]: "1",
        rows["c"]: "0",
        rows["d"]: "2",
    }
    current = Fingerprint(digests, {metric: "test_it.py:12", model_part: "x.py:1"})

    assert current.changes_since(earlier.parts) == (
        "metric changed (test_it.py:12)",
        "new added",
        "old removed",
        "2 train rows added",
        "1 train row moved",
        "1 val row removed",
    )


def test_options_that_came_with_another_optimizer_are_not_listed() -> None:
    """Another optimizer is one change; an option of both that changed is another."""
    optimizer, k, seed = Part(Kind.OPTIMIZER), Part(Kind.OPTIMIZER, "k"), Part(Kind.OPTION, "seed")
    mipro = {optimizer: "mipro", seed: "1", Part(Kind.OPTION, "auto"): "light"}
    labeled = Fingerprint({optimizer: "labeled", seed: "2", k: "3"})

    assert labeled.changes_since(Fingerprint(mipro).parts) == (
        "optimizer changed",
        "option seed changed",
    )
    assert Fingerprint({optimizer: "labeled", seed: "2"}).changes_since(labeled.parts) == (
        "optimizer k removed",
    )


def test_key_ignores_the_order_of_parts_and_their_locations() -> None:
    """The key is about content alone."""
    metric, model_part = Part(Kind.METRIC), Part(Kind.MODEL)
    fingerprint = Fingerprint({metric: "1", model_part: "2"}, {metric: "x.py:1"})
    reordered = Fingerprint({model_part: "2", metric: "1"}, {metric: "x.py:99"})

    assert fingerprint.key == reordered.key
    assert re.fullmatch(r"[0-9a-f]{32}", fingerprint.key)


def test_all_kinds_of_parts_have_words() -> None:
    """Words name the part, with its owner if the kind has one, and have no spaces at the ends."""
    for kind in Kind:
        phrase = words(Part(kind, "some.name", "some.owner"))
        assert phrase == phrase.strip()
        assert "some.owner" not in words(Part(kind, "some.name"))
    assert words(Part(Kind.VALUE, "LIMIT", "routing.clean")) == "value of LIMIT in routing.clean"
    assert words(Part(Kind.FIELDS, "route", "teacher")) == "teacher fields of route"


MODEL, DSPY = Part(Kind.MODEL), Part(Kind.VERSION, "DSPy")
CHOSEN, METRIC = Part(Kind.VERSION, "declared"), Part(Kind.METRIC)


@pytest.mark.parametrize(
    "changed, moves",
    [
        (set(), set()),
        ({MODEL, DSPY}, {MODEL, DSPY}),
        ({MODEL, METRIC}, {MODEL}),
        ({CHOSEN}, set()),
    ],
)
def test_models_adapters_and_versions_of_packages_are_moves(
    changed: set[Part], moves: set[Part]
) -> None:
    """The version that a task declares is none, nor is anything of the program or the data."""
    digests = dict.fromkeys([MODEL, DSPY, CHOSEN, METRIC], "now")
    accepted = Fingerprint({**digests, **dict.fromkeys(changed, "then")}).parts
    fingerprint = Fingerprint(digests)
    assert fingerprint.moves(accepted) == moves
    assert fingerprint.has_only_moved(accepted) == (changed == moves)
    text = "DSPy version changed, model changed" if DSPY in moves else "model changed" * bool(moves)
    assert fingerprint.describe_moves(accepted) == text

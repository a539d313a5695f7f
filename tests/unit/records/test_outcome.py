from __future__ import annotations

import dataclasses
import json
import math
import pickle
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_mipro.canonical import Record
from pytest_mipro.records import (
    MOST_SCORE,
    Acceptance,
    Artifact,
    BudgetCut,
    Candidate,
    ExampleCost,
    ExampleResult,
    FailStreak,
    Failure,
    FailureReason,
    HeldOutExample,
    Look,
    LookKind,
    Means,
    MetricScores,
    Migration,
    PairedComparison,
    Progress,
    Prompt,
    Proposal,
    Report,
    Row,
    Scorecard,
    SearchLog,
    Trace,
    Trial,
    Usage,
    Verdict,
    WrittenInstruction,
)

pytestmark = pytest.mark.uses("pydantic")

# Models and users produce any text: control characters, the lone surrogates that json.loads makes
# of "\ud800", and texts that look like JSON or numbers.
TEXT = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["", "null", "NaN", "1", "\x00", "\ud800", "\ufeff", "\u2028", "💥", "\r\n", "{}", "é" * 500]
)
KEY = st.text(st.characters(codec="utf-8"), max_size=10)
SCORE = st.floats(-MOST_SCORE, MOST_SCORE)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 10**12)
JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEY, inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.dictionaries(KEY, JSON_DATA, max_size=2)


def tuples(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy for short tuples."""
    return st.lists(items, max_size=2).map(tuple)


MONEY = st.integers(0, 10**9).map(lambda millionths: millionths / 10**6)
COST = st.builds(ExampleCost, NUMBER, st.none() | MONEY)
USAGE = st.builds(Usage, COUNT, COUNT, COUNT, COUNT, MONEY)
CUT = st.builds(BudgetCut, TEXT, st.sampled_from(["calls", "tokens", "usd", "seconds"]), NUMBER)
FAILURE = st.builds(Failure, TEXT, TEXT, TEXT, st.sampled_from(get_args(FailureReason)))
CANDIDATE = st.builds(Candidate, tuples(st.integers(0, 20)), tuples(st.integers(0, 20)))
PROMPT = st.builds(Prompt, TEXT, TEXT, tuples(FIELDS))
SCORECARD = st.builds(
    Scorecard,
    tuples(TEXT),
    tuples(NUMBER),
    USAGE,
    tuples(FAILURE),
    latency=st.none() | NUMBER,
    costs=tuples(st.none() | COST),
)
TRIAL = st.builds(Trial, COUNT, CANDIDATE, COUNT, NUMBER, st.booleans())
WRITTEN = st.builds(
    WrittenInstruction, COUNT, TEXT, COUNT, COUNT, TEXT, tuples(COUNT), COUNT, NUMBER
)
SEARCH_LOG = st.builds(
    SearchLog, COUNT, tuples(TRIAL), CANDIDATE, st.none() | NUMBER, NUMBER, tuples(WRITTEN)
)
RESULT = st.builds(ExampleResult, NUMBER, tuples(JSON_DATA), tuples(FAILURE), tuples(TEXT))
HELD_OUT = st.builds(HeldOutExample, TEXT, FIELDS, FIELDS, RESULT, RESULT, st.none() | NUMBER)
COMPARISON = st.builds(
    PairedComparison,
    COUNT,
    *[NUMBER] * 9,
    TEXT,
    unit=st.sampled_from(["score", "tokens", "usd"]),
)
VERDICT = st.builds(
    Verdict,
    TEXT,
    st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]),
    TEXT,
    st.none() | COMPARISON,
    st.booleans(),
    TEXT,
    NUMBER,
    st.none() | NUMBER,
    st.none() | NUMBER,
    st.booleans(),
)
METRIC_SCORES = st.builds(
    MetricScores, TEXT, SCORECARD, SCORECARD, COMPARISON, st.none() | SCORECARD
)
MEANS = st.builds(Means, COUNT, NUMBER, NUMBER)
ACCEPTANCE = st.builds(
    Acceptance,
    st.sampled_from(["first", "changed", "unchanged", "replaced"]),
    tuples(TEXT),
    MEANS,
    tuples(PROMPT),
    st.none() | MEANS,
    tuples(PROMPT),
    COUNT,
    COUNT,
    COUNT,
    st.booleans(),
)
RECORDS: dict[type[Record], st.SearchStrategy[Any]] = {
    Usage: USAGE,
    ExampleCost: COST,
    Failure: FAILURE,
    Row: st.builds(
        Row,
        TEXT,
        SCORE,
        JSON_DATA,
        USAGE,
        st.none() | FAILURE,
        seconds=st.none() | NUMBER,
        spent=st.none() | USAGE,
        scores=st.dictionaries(KEY, NUMBER, max_size=2),
        feedback=TEXT,
    ),
    Trace: st.builds(
        Trace,
        TEXT,
        st.none() | SCORE,
        st.dictionaries(KEY, st.lists(FIELDS, max_size=2), max_size=2),
        USAGE,
        prediction=JSON_DATA,
        feedback=TEXT,
    ),
    Proposal: st.builds(Proposal, TEXT, TEXT, USAGE),
    Candidate: CANDIDATE,
    Trial: TRIAL,
    SearchLog: SEARCH_LOG,
    WrittenInstruction: WRITTEN,
    ExampleResult: RESULT,
    HeldOutExample: HELD_OUT,
    MetricScores: METRIC_SCORES,
    Look: st.builds(
        Look,
        TEXT,
        COUNT,
        st.sampled_from(get_args(LookKind)),
        COUNT,
        tuples(TEXT),
        TEXT,
        TEXT,
        tuples(TEXT),
    ),
    FailStreak: st.builds(FailStreak, TEXT, COUNT, st.dictionaries(TEXT, TEXT, max_size=2)),
    Prompt: PROMPT,
    Artifact: st.builds(
        Artifact,
        TEXT,
        TEXT,
        st.dictionaries(KEY, TEXT, max_size=3),
        FIELDS,
        USAGE,
        NUMBER,
        TEXT,
        st.none() | CUT,
        st.none() | SEARCH_LOG,
    ),
    BudgetCut: CUT,
    Scorecard: SCORECARD,
    PairedComparison: COMPARISON,
    Verdict: VERDICT,
    Means: MEANS,
    Acceptance: ACCEPTANCE,
    Report: st.builds(
        Report,
        task=TEXT,
        test=TEXT,
        key=TEXT,
        origin=st.sampled_from(["compiled", "stored", "accepted", "shared"]),
        reasons=tuples(TEXT),
        baseline=SCORECARD,
        compiled=SCORECARD,
        comparison=COMPARISON,
        prompts_before=tuples(PROMPT),
        prompts_after=tuples(PROMPT),
        usage=USAGE,
        seconds=NUMBER,
        store=TEXT,
        verdicts=tuples(VERDICT),
        acceptance=st.none() | ACCEPTANCE,
        stale=TEXT,
        cut=st.none() | CUT,
        model=TEXT,
        shared=TEXT,
        resumed=COUNT,
        held_out=tuples(HELD_OUT),
        search=st.none() | SEARCH_LOG,
        accepted=st.none() | SCORECARD,
        prompts_accepted=tuples(PROMPT),
    ),
    Migration: st.builds(
        Migration,
        TEXT,
        TEXT,
        TEXT,
        SCORECARD,
        SCORECARD,
        SCORECARD,
        COMPARISON,
        COMPARISON,
        COMPARISON,
        USAGE,
        USAGE,
        TEXT,
    ),
    Progress: st.builds(
        Progress,
        st.sampled_from(["bootstrap", "propose", "search", "evaluate"]),
        COUNT,
        st.none() | COUNT,
        st.none() | NUMBER,
        USAGE,
    ),
}


def through_json(record: Record) -> Record:
    """Return ``record`` after a trip through JSON text."""
    return type(record).from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False)))


def test_every_record_has_a_strategy() -> None:
    """Each record of the room has a strategy here; other rooms test their own records."""
    room = Usage.__module__.rpartition(".")[0]
    kinds = [kind for kind in Record.__subclasses__() if kind.__module__.startswith(f"{room}.")]

    assert set(RECORDS) == set(kinds)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_round_trip(kind: type[Record], data: st.DataObject) -> None:
    """A record equals itself after a trip through its dictionary, and through JSON text."""
    record = data.draw(RECORDS[kind])
    dictionary = record.to_dict()

    assert _types_beyond_json(dictionary) == set()  # xdist carries only the types of JSON
    assert type(record).from_dict(dictionary) == record
    restored = through_json(record)
    assert restored == record
    assert restored.to_dict() == record.to_dict()


def _types_beyond_json(value: Any) -> set[type]:
    if type(value) is dict:
        return {type(key) for key in value if type(key) is not str}.union(
            *(_types_beyond_json(item) for item in value.values())
        )
    if type(value) is list:
        return set().union(*(_types_beyond_json(item) for item in value))
    return {type(value)} - {str, int, float, bool, type(None)}


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_records_are_frozen(kind: type[Record]) -> None:
    """Setting a field of a record raises FrozenInstanceError."""
    name = dataclasses.fields(kind)[0].name  # type: ignore[arg-type]  # records are dataclasses
    record = kind.__new__(kind)

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, 1)


def test_huge_record_survives() -> None:
    """Megabytes of text and thousands of demos survive the round trip."""
    demos = tuple({"question": f"{number}", "answer": "é" * 200} for number in range(3000))
    row = Row("key", 1e-300, {"text": "\U0001f4a5" * 500_000, "number": 10**300}, Usage(10**18))

    assert through_json(row) == row
    assert through_json(Prompt("self", "x" * 1_000_000, demos)) == Prompt(
        "self", "x" * 1_000_000, demos
    )


@pytest.mark.parametrize(
    "fields",
    [{"\ud800": 1}, {"a": {"\ud800": 1}}, {"a": [{"b\udfff": 1}]}],
    ids=["key", "key in a dictionary", "key in a list"],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda fields: Row("key", 1.0, fields),
        lambda fields: Trace("key", 1.0, {"self": [fields]}),
        lambda fields: Prompt("self", "ExampleResult.", (fields,)),
        lambda fields: Artifact("key", "task", {}, fields, Usage(), 1.0, "today"),
    ],
    ids=["Row", "Trace", "Prompt", "Artifact"],
)
def test_lone_surrogate_in_a_name_survives(make: Any, fields: dict[str, Any]) -> None:
    """A lone surrogate, which a broken escape becomes, survives in a dictionary's keys."""
    record = make(fields)

    assert through_json(record) == record


def test_dictionary_is_a_copy() -> None:
    """A change of the dictionary of a record does not change the record."""
    row = Row("key", 1.0, {"answer": ["yes"]})

    row.to_dict()["prediction"]["answer"].append("no")

    assert row.prediction == {"answer": ["yes"]}


@pytest.mark.parametrize(
    "kind, data",
    [
        (Usage, {"calls": "many"}),
        (Usage, {"calls": 1.5}),
        (Usage, []),
        (Usage, None),
        (Failure, {"type": "ValueError", "message": "m"}),
        (Failure, {"type": "ValueError", "message": None, "traceback": ""}),
        (Row, {"key": "k"}),
        (Row, {"key": "k", "score": None}),
        (Row, {"key": "k", "score": math.nan}),
        (Row, {"key": "k", "score": math.inf}),
        (Row, {"key": "k", "score": 1e308}),
        (Trace, {"key": "k", "score": -1e308}),
        (Row, {"key": "k", "score": 1.0, "failure": {"type": "ValueError"}}),
        (Candidate, {"instructions": [0], "demos": ["first"]}),
        (Progress, {"phase": "sleep", "done": 1}),
        (Verdict, {"kind": "k", "word": "MAYBE", "sentence": "s", "comparison": {}}),
        (Artifact, {"key": "k", "task": "t", "parts": {"a": 1}}),
    ],
)
def test_wrong_data_is_refused(kind: type[Record], data: Any) -> None:
    """Data that is not such a record raises ValueError."""
    with pytest.raises(ValueError, match=kind.__name__):
        kind.from_dict(data)


def test_missing_fields_with_a_default_are_filled() -> None:
    """Data without a field that has a default gives the default."""
    assert Row.from_dict({"key": "k", "score": 1}) == Row("k", 1.0)
    assert Usage.from_dict({}) == Usage()


def test_records_can_be_sent_to_another_process() -> None:
    """A record can be pickled for an executor of processes."""
    verdict = Verdict("beats_baseline", "PASS", "It is better.", comparison())

    assert pickle.loads(pickle.dumps(verdict)) == verdict


def comparison() -> PairedComparison:
    """Return an arbitrary comparison."""
    return PairedComparison(9, 0.5, 0.6, 0.1, 0.0, 0.2, 0.04, 0.15, 0.0, 0.95, "permutation")


@given(st.lists(USAGE))
def test_usages_add_up(usages: list[Usage]) -> None:
    """A total is the sum of each field, in any order, and subtraction undoes addition."""
    total = Usage.total(usages)

    assert total.calls == sum(usage.calls for usage in usages)
    assert total.prompt_tokens == sum(usage.prompt_tokens for usage in usages)
    assert total.completion_tokens == sum(usage.completion_tokens for usage in usages)
    assert Usage.total(reversed(usages)) == total
    assert total - total == Usage()


@pytest.mark.parametrize(
    "score, threshold, passes",
    [
        (None, None, False),
        (None, 0.0, False),
        (0.0, None, False),
        (0.1, None, True),
        (-1.0, None, True),
        (0.0, 0.0, True),
        (0.5, 0.5, True),
        (0.49, 0.5, False),
        (-0.1, 0.0, False),
    ],
)
def test_trace_passes(score: float | None, threshold: float | None, passes: bool) -> None:
    """A score passes a threshold of 0 from 0 on; without a threshold any truthy score passes."""
    assert Trace("key", score).passes(threshold) is passes


@pytest.mark.parametrize(
    "candidate, baseline",
    [
        (Candidate((0,), (0,)), True),
        (Candidate((0, 0), (0, 0)), True),
        (Candidate((0, 1), (0, 0)), False),
        (Candidate((0, 0), (2, 0)), False),
    ],
)
def test_candidate_is_the_baseline(candidate: Candidate, baseline: bool) -> None:
    """Only a candidate with all indices 0 is the unchanged student."""
    assert candidate.is_baseline is baseline


@pytest.mark.parametrize(
    "scores, mean", [((1.0,), 1.0), ((0.0, 1.0), 0.5), ((0.8,) * 10, 0.8), ((0.1,) * 10, 0.1)]
)
def test_scorecard_has_the_mean(scores: tuple[float, ...], mean: float) -> None:
    """The mean of ten rows of 0.8 is exactly 0.8, so that `score >= 0.8` holds."""
    scorecard = Scorecard(tuple(map(str, range(len(scores)))), scores, Usage())

    assert scorecard.score == mean


@pytest.mark.parametrize("word, truth", [("PASS", True), ("FAIL", False), ("INCONCLUSIVE", False)])
def test_verdict_is_truthy_only_on_pass(word: Any, truth: bool) -> None:
    """Its truth is that of a PASS, and its repr is the word and the sentence."""
    verdict = Verdict("beats_baseline", word, "0.6 against 0.5, p = 0.04.", comparison())

    assert bool(verdict) is truth
    assert repr(verdict) == f"{word}: 0.6 against 0.5, p = 0.04."
    assert f"{Verdict.from_dict(verdict.to_dict())!r}" == repr(verdict)


def test_report_takes_verdicts() -> None:
    """Verdicts are added to a copy of the report, which survives a round trip."""
    scorecard = Scorecard(("a",), (1.0,), Usage())
    report = Report(
        task="router",
        test="test_router.py::test_router",
        key="key",
        origin="stored",
        reasons=(),
        baseline=scorecard,
        compiled=scorecard,
        comparison=comparison(),
        prompts_before=(),
        prompts_after=(),
        usage=Usage(),
        seconds=1.0,
        store="sqlite://",
    )
    verdict = Verdict("beats_baseline", "FAIL", "No.", comparison())

    judged = replace(report, verdicts=(verdict,))

    assert report.verdicts == ()
    assert through_json(judged) == judged

"""Summaries for the tests of renderers: invented tasks with a value in every field."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_mipro.records import (
    Candidate,
    ExampleResult,
    Failure,
    HeldOutExample,
    MetricScores,
    PairedComparison,
    Prompt,
    Report,
    Scorecard,
    SearchLog,
    Trial,
    Usage,
    Verdict,
)
from pytest_mipro.report import Summary, TaskSummary, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_mipro.records import VerdictWord

COMPARISON = PairedComparison(
    n=40,
    comparator=0.425,
    compiled=0.675,
    difference=0.25,
    low=0.08,
    high=0.4,
    p_value=0.0042,
    detectable=0.21,
    margin=0.0,
    confidence=0.95,
    method="exact score test",
)
LOSS = replace(COMPARISON, comparator=0.95, difference=-0.275, low=-0.4, high=-0.1, p_value=1.0)
"""A comparison with a reference that is better than both programs."""
BASELINE_PROMPT = Prompt("route", "Route the ticket to a team.")
COMPILED_PROMPT = Prompt(
    "route",
    "Route the ticket to the team that owns the product.\nAnswer with one word.",
    ({"augmented": True, "ticket": "The app crashes", "team": "mobile"},),
)
ACCEPTED_PROMPT = Prompt("route", "Route the ticket to the team that owns it.")
FAILURE = Failure("ValueError", "no team called 'x'", 'Traceback:\n  File "a.py"\nValueError')


def held_out(
    baseline: float = 0.0,
    compiled: float = 1.0,
    *,
    number: int = 1,
    accepted: float | None = None,
    failure: Failure | None = None,
    **texts: Any,
) -> HeldOutExample:
    """Return an example with these scores; ``texts`` replace its input, label and answers."""
    text: dict[str, Any] = {
        "ticket": f"Ticket {number}",
        "team": "mobile",
        "baseline_team": "web",
        "compiled_team": "mobile",
    }
    text |= texts
    return HeldOutExample(
        identity=f"{number:032x}",
        inputs={"ticket": text["ticket"]},
        expected={"team": text["team"]},
        baseline=ExampleResult(baseline, ({"team": text["baseline_team"]},)),
        compiled=ExampleResult(
            compiled,
            (None if failure else {"team": text["compiled_team"]},),
            () if failure is None else (failure,),
        ),
        accepted=accepted,
    )


EXAMPLES = (
    held_out(number=1, accepted=1.0),
    held_out(1.0, 0.0, number=2, accepted=1.0, baseline_team="mobile", compiled_team="billing"),
    held_out(1.0, 1.0, number=3, accepted=1.0, baseline_team="mobile"),
    held_out(0.0, 0.0, number=4, accepted=0.0, failure=FAILURE),
)
SEARCH = SearchLog(
    rows=80,
    trials=(
        Trial(0, Candidate((0,), (1,)), 80, 0.55, dropped=False),
        Trial(1, Candidate((1,), (1,)), 20, 0.35, dropped=True),
        Trial(2, Candidate((1,), (2,)), 80, 0.7, dropped=False),
    ),
    winner=Candidate((1,), (2,)),
    baseline=0.45,
    score=0.7,
)


def scorecard(
    examples: Sequence[HeldOutExample], program: Literal["baseline", "compiled"]
) -> Scorecard:
    """Return the scorecard of a program with the scores that the examples have."""
    results: list[ExampleResult] = [getattr(example, program) for example in examples]
    return Scorecard(
        examples=tuple(example.identity for example in examples),
        scores=tuple(result.score for result in results),
        usage=Usage(len(results), 400, 80, priced=len(results), usd=0.0021),
        failures=tuple(failure for result in results for failure in result.failures),
        latency=0.42,
    )


def report(
    *words: VerdictWord,
    examples: Sequence[HeldOutExample] = EXAMPLES,
    sentence: str = "so and so",
    **values: Any,
) -> Report:
    """Return a report with verdicts of these words; ``values`` replace other fields."""
    default = Report(
        task="router",
        test="tests/test_router.py::test_router",
        key="12ab34cd",
        origin="compiled",
        reasons=("metric changed (test_router.py:3)",),
        baseline=scorecard(examples, "baseline"),
        compiled=scorecard(examples, "compiled"),
        comparison=COMPARISON,
        prompts_before=(BASELINE_PROMPT,),
        prompts_after=(COMPILED_PROMPT,),
        usage=Usage(1234, 56000, 7000, priced=1234, usd=0.0456),
        seconds=12.6,
        store=".mipro/store.db",
        verdicts=tuple(Verdict("beats_baseline", word, sentence, COMPARISON) for word in words),
        model="openai/gpt-4o-mini",
        held_out=tuple(examples),
        search=SEARCH,
    )
    return replace(default, **values)


def task_summary(outcome: Report, *, failed: bool = False, message: str = "") -> TaskSummary:
    """Return the summary of a test with this outcome."""
    status: Literal["passed", "failed"] = "failed" if failed else "passed"
    return summarize(outcome, file="tests/test_router.py", line=12, status=status, message=message)


PASSED = task_summary(report("PASS"))
REGRESSED = task_summary(
    report(
        "PASS",
        task="summary",
        test="tests/test_router.py::test_summary",
        verdicts=(
            Verdict("beats_baseline", "PASS", "better", COMPARISON),
            Verdict("no_regression", "FAIL", "worse than the reference", LOSS),
        ),
        accepted=Scorecard(
            tuple(example.identity for example in EXAMPLES), (1.0, 1.0, 1.0, 0.0), Usage()
        ),
        prompts_accepted=(ACCEPTED_PROMPT,),
        stale="the reference is out of date: metric changed",
    ),
    failed=True,
    message="assert FAIL: worse than the reference",
)
TONE = MetricScores(
    "tone",
    Scorecard(("a", "b"), (0.25, 0.5), Usage()),
    Scorecard(("a", "b"), (0.5, 1.0), Usage()),
    replace(COMPARISON, comparator=0.375, compiled=0.75, difference=0.375, n=2),
    Scorecard(("a", "b"), (0.5, 0.75), Usage()),
)
TONED = task_summary(
    report(
        task="toned",
        metric="exact",
        further=(TONE,),
        verdicts=(
            Verdict("beats_baseline", "PASS", "better", COMPARISON, metric="exact"),
            Verdict("no_regression", "FAIL", "ruder", TONE.comparison, metric="tone"),
        ),
    ),
    failed=True,
    message="assert FAIL: ruder",
)
"""A test of two metrics."""
UNDECIDED = task_summary(
    report("INCONCLUSIVE", task="answer", origin="stored", reasons=(), usage=Usage(), search=None)
)
ERRED = TaskSummary(
    task="broken",
    test="tests/test_router.py::test_broken",
    file="tests/test_router.py",
    line=30,
    status="error",
    word="ERROR",
    message="the language model failed while running Router: LMAuthError: the key was revoked",
)


def summary(*tasks: TaskSummary) -> Summary:
    """Return the summary of a session with these tasks, or with one of each kind."""
    return Summary(
        tasks=tasks or (PASSED, REGRESSED, UNDECIDED, ERRED),
        usage=Usage(1234, 56000, 7000, priced=1234, usd=0.0456),
        store=".mipro/store.db",
        versions={"dspy": "3.4.1", "pytest": "9.0.0", "pytest-mipro": "0.1.0"},
        created="2026-01-02T03:04:05+00:00",
        seconds=75.0,
        orphans=("tests/__mipro__/test_old/gone.json",),
    )


def hostile(text: str) -> Summary:
    """Return a summary with ``text`` in every field that a user or a model can set."""
    prompt = Prompt(text or "x", text, ({"augmented": True, text or "x": text},))
    failure = Failure(text, text, text)
    examples = (
        held_out(1.0, 0.0, ticket=text, team=text, baseline_team=text, compiled_team=text),
        replace(held_out(0.0, 0.0, number=2, ticket={text: [text]}, failure=failure), expected={}),
    )
    verdicts = (
        *report("PASS", "FAIL", "INCONCLUSIVE", sentence=text).verdicts,
        Verdict("no_regression", "FAIL", text, LOSS, metric=text),
    )
    outcome = report(
        verdicts=verdicts,
        examples=examples,
        task=text,
        test=f"test_x.py::test_x[{text}]",
        reasons=(text,),
        prompts_before=(prompt,),
        prompts_after=(replace(prompt, instruction=f"{text} {text}"),),
        prompts_accepted=(replace(prompt, instruction=f"a\n{text}"),),
        model=text,
        store=text,
        stale=text,
        metric="exact",
        further=(replace(TONE, metric=text),),
    )
    erred = replace(ERRED, task=text, test=text, message=text, file=f"{text}.py")
    session = summary(task_summary(outcome, failed=True, message=text), erred)
    return replace(session, store=text, orphans=(text,), versions={"dspy": text})

"""Write the two reference files of a test and read them back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from pytest_mipro.canonical import Record, digest
from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.records import (
    MOST_SCORE,
    Acceptance,
    ExampleCost,
    Means,
    Prompt,
    Score,
    Usage,
)
from pytest_mipro.reference.files import damaged, load, missing_half, write
from pytest_mipro.reference.sealing import check_seal, with_seal
from pytest_mipro.reference.state import (
    HALF_CHARACTER,
    labels_of,
    missing_part,
    predictors_of,
    refused_key,
    unsendable_part,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_mipro.canonical import JSON
    from pytest_mipro.reference.location import ReferenceLocation

    Amounts: TypeAlias = dict[Literal["baseline", "compiled"], dict[str, float]]

FORMAT = "pytest-mipro reference"
VERSION = 1
IDENTITY = 16
"""Digits of the name of an acceptance."""
Difference = Annotated[float, Field(ge=-2 * MOST_SCORE, le=2 * MOST_SCORE, allow_inf_nan=False)]


@dataclass(frozen=True)
class FurtherScores(Record):
    """Accepted scores by a metric that is not optimized.

    Attributes:
        metric: The digest of the metric.
        baseline: Scores of the baseline, by the identity of an example.
        compiled: Scores of the compiled program.
    """

    metric: str
    baseline: dict[str, float]
    compiled: dict[str, float]


@dataclass(frozen=True)
class SinceAnchor(Record):
    """What the last accepted programs lost or gained against the anchor.

    Attributes:
        anchor: The identity of the anchor's scores; empty if there is no other anchor.
        differences: Differences to the anchor's mean score, on the examples that a program had in
            common with it when it was accepted; that of the present reference last.
    """

    anchor: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Reference(Record):
    """An accepted program and its held-out scores; the content of both files.

    Attributes:
        test: The test's name in its file.
        key: The compile key.
        parts: The compile fingerprint by part.
        metric: The digest of the metric.
        baseline: Scores of the baseline, by the identity of an example.
        compiled: Scores of the compiled program.
        usage: Usage of the compile and of each program's answers.
        model: The name of the model that answered.
        adapter: The class of the adapter that rendered the prompts.
        rendering: The digest of what it made of the compiled program's prompts; empty if unknown.
        versions: Versions of the packages that accepted it.
        state: The compiled program's DSPy state.
        since_anchor: What it and the programs accepted before it lost against the anchor.
        tokens: Known tokens of an answer, by program and example.
        usd: Known price of an answer, by program and example.
        further: Scores by further metrics, by name, on the same examples.
    """

    test: str
    key: str
    parts: dict[str, str]
    metric: str
    baseline: dict[str, Score]
    compiled: dict[str, Score]
    usage: dict[Literal["compile", "baseline", "compiled"], Usage]
    model: str
    adapter: str
    rendering: str
    versions: dict[str, str]
    state: dict[str, Any]
    since_anchor: SinceAnchor
    tokens: dict[Literal["baseline", "compiled"], dict[str, float]] = field(default_factory=dict)
    usd: dict[Literal["baseline", "compiled"], dict[str, float]] = field(default_factory=dict)
    further: dict[str, FurtherScores] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The name of this acceptance in the history, by the program and its scores."""
        return digest([self.parts, self.metric, self.compiled, digest(self.state)])[:IDENTITY]

    def cost_of(self, program: Literal["baseline", "compiled"], example: str) -> ExampleCost | None:
        """Return the cost of a program's answer to an example, if it is known."""
        tokens = self.tokens.get(program, {}).get(example)
        return (
            None if tokens is None else ExampleCost(tokens, self.usd.get(program, {}).get(example))
        )


def read_reference(location: ReferenceLocation) -> Reference | None:
    """Return the reference at ``location``, or None where none was accepted.

    Raises:
        DamagedReference: The files exist and do not hold a reference.
        ReferenceFileError: The files cannot be read, or must not be replaced.
    """
    scores = load(location, location.scores)
    if scores is not None:
        _check_format(location, scores)
    program = load(location, location.program)
    if scores is None and program is None:
        return None
    if scores is None:
        raise missing_half(location, location.program, location.scores)
    if program is None:
        raise missing_half(location, location.scores, location.program)
    state = _without_metadata(program)
    _check_state(location, state)
    reference = _reference(location, {**scores, "state": state})
    _check_consistency(location, reference, scores.get("program"))
    check_seal(location, location.scores, scores, "reference", _claims(scores))
    return reference


def accept_reference(
    location: ReferenceLocation,
    new: Reference,
    earlier: Reference | None,
    *,
    fields: Mapping[str, Sequence[str]],
    replaces: bool = False,
) -> Acceptance:
    """Write ``new`` to ``location``, unless its content is that of ``earlier``.

    Args:
        location: The paths of the two files.
        new: The reference to accept.
        earlier: The reference accepted earlier.
        fields: Each predictor's fields, in the order in which people read them.
        replaces: Whether there are files that cannot be used.

    Raises:
        ReferenceFileError: The files cannot be written.
    """
    new = _with_earlier_costs(new, earlier)
    change = _change(new, earlier, replaces=replaces)
    if change != "unchanged":
        # If the process dies in between, the digest in the scores shows that the files differ.
        write(location, location.program, _program_data(new))
        write(location, location.scores, _scores_data(new))
    acceptance = Acceptance(
        change=change,
        files=(location.show(location.scores), location.show(location.program)),
        current=_means(new),
        prompts_after=prompts_of(new.state, fields),
    )
    return acceptance if earlier is None else _compared(acceptance, new, earlier, fields)


def prompts_of(state: Mapping[str, Any], fields: Mapping[str, Sequence[str]]) -> tuple[Prompt, ...]:
    """Return the prompts in a DSPy state, with demos in the order of ``fields``."""
    return tuple(
        Prompt(
            name,
            str(predictor["signature"].get("instructions", "")),
            tuple(_ordered(demo, fields.get(name, ())) for demo in predictor.get("demos", ())),
            labels_of(predictor),
        )
        for name, predictor in predictors_of(state).items()
    )


def _ordered(demo: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    names = dict.fromkeys([*fields, *sorted(demo)])
    return {name: demo[name] for name in names if name in demo}


def _content(reference: Reference) -> JSON:
    """Return the values that tell references apart; usage does not."""
    return [
        reference.parts,
        reference.metric,
        reference.baseline,
        reference.compiled,
        digest(reference.state),
        {name: further.to_dict() for name, further in reference.further.items()},
    ]


def _change(
    new: Reference, earlier: Reference | None, *, replaces: bool
) -> Literal["first", "changed", "unchanged", "replaced"]:
    if earlier is None:
        return "replaced" if replaces else "first"
    is_same = _content(earlier) == _content(new) and _costs(earlier) == _costs(new)
    return "unchanged" if is_same else "changed"


def _with_earlier_costs(new: Reference, earlier: Reference | None) -> Reference:
    """Return ``new`` with the costs of ``earlier`` that it lacks, if both have the same answers."""
    if earlier is None or _content(earlier) != _content(new):
        return new
    tokens, usd = _costs(new)
    earlier_tokens, earlier_usd = _costs(earlier)
    for program, amounts in earlier_tokens.items():
        lacking = amounts.keys() - tokens.get(program, {}).keys()
        tokens[program] = tokens.get(program, {}) | _only(amounts, lacking)
        usd[program] = usd.get(program, {}) | _only(earlier_usd.get(program, {}), lacking)
    return replace(new, tokens=tokens, usd=usd)


def _only(amounts: dict[str, float], examples: set[str]) -> dict[str, float]:
    return {example: amount for example, amount in amounts.items() if example in examples}


def _costs(reference: Reference) -> tuple[Amounts, Amounts]:
    """Return the known tokens and US dollars of answers, by program and example."""
    tokens, usd = (
        {program: amounts for program, amounts in programs.items() if amounts}
        for programs in (reference.tokens, reference.usd)
    )
    return tokens, usd


def _compared(
    acceptance: Acceptance, new: Reference, earlier: Reference, fields: Mapping[str, Sequence[str]]
) -> Acceptance:
    common = new.compiled.keys() & earlier.compiled.keys()
    return replace(
        acceptance,
        previous=_means(earlier),
        prompts_before=prompts_of(earlier.state, fields),
        changed=sum(new.compiled[example] != earlier.compiled[example] for example in common),
        added=len(new.compiled) - len(common),
        removed=len(earlier.compiled) - len(common),
        rescored=new.metric != earlier.metric,
    )


def _means(reference: Reference) -> Means:
    n = len(reference.compiled)
    baseline, compiled = (
        math.fsum(scores.values()) / n for scores in (reference.baseline, reference.compiled)
    )
    return Means(n, baseline, compiled)


def _scores_data(reference: Reference) -> dict[str, Any]:
    data = reference.to_dict()
    state = data.pop("state")
    data |= {"format": FORMAT, "version": VERSION, "program": digest(state)}
    return with_seal(data, "reference", _claims(data))


def _claims(scores: Mapping[str, Any]) -> JSON:
    """Return all scores, and the program by its digest."""
    return {name: part for name, part in scores.items() if name != "seal"}


def _program_data(reference: Reference) -> dict[str, Any]:
    # DSPy's load() requires this mapping, and compares its own version only.
    versions = {name: number for name, number in reference.versions.items() if name == "dspy"}
    return {**reference.state, "metadata": {"dependency_versions": versions}}


def _without_metadata(program: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in program.items() if name != "metadata"}


def _check_format(location: ReferenceLocation, scores: Mapping[str, Any]) -> None:
    path, version = location.show(location.scores), scores.get("version")
    if scores.get("format") != FORMAT:
        message = (
            f"{path} is not a reference of pytest-mipro (its format is "
            f"{scores.get('format')!r:.40}, expected {FORMAT!r}); move it away, then accept "
            f"with: {location.command}"
        )
        raise ReferenceFileError(message)
    if not isinstance(version, int) or version < 1:
        raise damaged(location, location.scores, f"has version {version!r:.40}, expected {VERSION}")
    if version > VERSION:
        message = (
            f"the reference {path} was written by a newer pytest-mipro (version {version} of the "
            f"file, this one reads up to {VERSION}); upgrade pytest-mipro"
        )
        raise ReferenceFileError(message)


def _reference(location: ReferenceLocation, data: dict[str, Any]) -> Reference:
    try:
        return Reference.from_dict(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise damaged(location, location.scores, f"has a wrong {name}: {first['msg']}") from error


def _check_state(location: ReferenceLocation, state: Mapping[str, Any]) -> None:
    """Raise DamagedReference if the program holds more than prompts: DSPy would obey it."""
    key = refused_key(state)
    if key:
        problem = f"holds {key}, which no reference has: it may redirect calls, with their API key"
        raise damaged(location, location.program, problem)
    if part := missing_part(state):
        raise damaged(location, location.program, f"is without {part}")
    if part := unsendable_part(state):
        raise damaged(location, location.program, f"has {HALF_CHARACTER} in {part}")


def _check_consistency(location: ReferenceLocation, reference: Reference, program: object) -> None:
    """Raise DamagedReference if parts of the files contradict one another."""
    problem = _scores_problem(reference)
    if problem:
        raise damaged(location, location.scores, problem)
    if _state_digest(reference.state) != program:
        problem = f"does not go with {location.scores.name}: one of them was edited or merged alone"
        raise damaged(location, location.program, problem)


def _scores_problem(reference: Reference) -> str:
    scores = (*reference.baseline.values(), *reference.compiled.values())
    costs = [
        cost
        for programs in _costs(reference)
        for amounts in programs.values()
        for cost in amounts.values()
    ]
    if reference.baseline.keys() != reference.compiled.keys() or not scores:
        return "has not the same examples under baseline and compiled"
    for name, further in reference.further.items():
        if not further.baseline.keys() == further.compiled.keys() == reference.compiled.keys():
            return f"has not the same examples under further.{name}"
        scores += (*further.baseline.values(), *further.compiled.values())
    if not all(map(math.isfinite, scores)):
        return "holds a score that is no finite number"
    if not all(0 <= cost < math.inf for cost in costs):
        return "holds tokens or US dollars that are no finite number"
    if digest(reference.parts) != reference.key:
        return "has a key that its parts do not have"
    return ""


def _state_digest(state: dict[str, Any]) -> str | None:
    try:
        return digest(state)
    except ValueError:  # an edited file may hold NaN, which has no canonical text
        return None

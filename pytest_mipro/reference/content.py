"""The accepted references: two files per test, committed by the user."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import ValidationError

from pytest_mipro.canonical import digest
from pytest_mipro.errors import DamagedReference, ReferenceFileError
from pytest_mipro.records import Acceptance, Means, Prompt, Reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_mipro.canonical import JSON
    from pytest_mipro.reference.location import ReferenceLocation

    Amounts: TypeAlias = dict[Literal["baseline", "compiled"], dict[str, float]]

FORMAT = "pytest-mipro reference"
VERSION = 1
_CONFLICT = re.compile(r"^(<{7}|>{7})( |$)", re.MULTILINE)


def read_reference(place: ReferenceLocation) -> Reference | None:
    """
    Return the reference at ``place``, or None where none was accepted.

    Raises:
        DamagedReference: The files are there and do not hold a reference.
        ReferenceFileError: They cannot be read, or are not ours to replace.

    """
    scores = _load(place, place.scores)
    if scores is not None:
        _refuse_foreign(place, scores)
    program = _load(place, place.program)
    if scores is None and program is None:
        return None
    if scores is None or program is None:
        here, gone = place.scores, place.program
        here, gone = (gone, here) if scores is None else (here, gone)
        raise _damaged(place, here, f"is without its other half, {gone.name}")
    reference = _reference(place, {**scores, "state": _without_metadata(program)})
    _refuse_contradictions(place, reference, scores.get("program"))
    return reference


def accept_reference(
    place: ReferenceLocation,
    new: Reference,
    earlier: Reference | None,
    *,
    fields: Mapping[str, Sequence[str]],
    replaces: bool = False,
) -> Acceptance:
    """
    Write ``new`` to ``place``, unless it says what ``earlier`` says.

    Args:
        place: Where the reference is.
        new: What is accepted.
        earlier: What was accepted before.
        fields: Each predictor's fields, in the order people read them in.
        replaces: Whether there are files that could not be used.

    Raises:
        ReferenceFileError: The files cannot be written.

    """
    new = _with_earlier_bills(new, earlier)
    what = _what(new, earlier, replaces=replaces)
    if what != "unchanged":
        # The program first: scores without their program would be taken for damage, rightly.
        _write(place, place.program, _program(new))
        _write(place, place.scores, _scores(new))
    accepted = Acceptance(
        what=what,
        files=(place.show(place.scores), place.show(place.program)),
        after=_means(new),
        prompts_after=prompts_of(new.state, fields),
    )
    return accepted if earlier is None else _compared(accepted, new, earlier, fields)


def predictors_of(state: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the states of the predictors in a program's DSPy state, by name."""
    if _is_predictor(state) and "instructions" in state["signature"]:
        return {"self": state}  # the program is a predictor itself
    return {name: part for name, part in sorted(state.items()) if _is_predictor(part)}


def prompts_of(state: Mapping[str, Any], fields: Mapping[str, Sequence[str]]) -> tuple[Prompt, ...]:
    """Return what the predictors of a DSPy state say, demos in the order of ``fields``."""
    return tuple(
        Prompt(
            name,
            str(predictor["signature"].get("instructions", "")),
            tuple(_ordered(demo, fields.get(name, ())) for demo in predictor.get("demos", ())),
        )
        for name, predictor in predictors_of(state).items()
    )


def _is_predictor(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("signature"), dict)


def _content(reference: Reference) -> JSON:
    """Return what makes a reference another one, bills aside: not where code is, for one."""
    return [
        reference.parts,
        reference.metric,
        reference.baseline,
        reference.compiled,
        digest(reference.state),
    ]


def _ordered(demo: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    names = dict.fromkeys([*fields, *sorted(demo)])
    return {name: demo[name] for name in names if name in demo}


def _what(
    new: Reference, earlier: Reference | None, *, replaces: bool
) -> Literal["first", "changed", "unchanged", "replaced"]:
    if earlier is None:
        return "replaced" if replaces else "first"
    is_same = _content(earlier) == _content(new) and _bills(earlier) == _bills(new)
    return "unchanged" if is_same else "changed"


def _with_earlier_bills(new: Reference, earlier: Reference | None) -> Reference:
    """Keep what is known of the same answers, where it is not known any more."""
    if earlier is None or _content(earlier) != _content(new):
        return new
    tokens, usd = _bills(new)
    tokens_before, usd_before = _bills(earlier)
    for program, known in tokens_before.items():
        lost = known.keys() - tokens.get(program, {}).keys()
        tokens[program] = {**tokens.get(program, {}), **{each: known[each] for each in lost}}
        paid = {each: cost for each, cost in usd_before.get(program, {}).items() if each in lost}
        usd[program] = {**usd.get(program, {}), **paid}
    return replace(new, tokens=tokens, usd=usd)


def _bills(reference: Reference) -> tuple[Amounts, Amounts]:
    """Return the known tokens and US dollars of answers, by program and example."""
    tokens, usd = (
        {program: known for program, known in amounts.items() if known}
        for amounts in (reference.tokens, reference.usd)
    )
    return tokens, usd


def _compared(
    accepted: Acceptance, new: Reference, earlier: Reference, fields: Mapping[str, Sequence[str]]
) -> Acceptance:
    common = new.compiled.keys() & earlier.compiled.keys()
    return replace(
        accepted,
        before=_means(earlier),
        prompts_before=prompts_of(earlier.state, fields),
        changed=sum(new.compiled[each] != earlier.compiled[each] for each in common),
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


def _scores(reference: Reference) -> dict[str, Any]:
    data = reference.to_dict()
    state = data.pop("state")
    return {**data, "format": FORMAT, "version": VERSION, "program": digest(state)}


def _program(reference: Reference) -> dict[str, Any]:
    # DSPy's load() asks for the versions; of what it compares, only its own decides anything.
    versions = {name: own for name, own in reference.versions.items() if name == "dspy"}
    return {**reference.state, "metadata": {"dependency_versions": versions}}


def _without_metadata(program: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in program.items() if name != "metadata"}


def _load(place: ReferenceLocation, path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _damaged(place, path, f"is not UTF-8 text: {error}") from error
    except OSError as error:
        message = f"the reference {place.show(path)} cannot be read: {error.strerror or error}"
        raise ReferenceFileError(message) from error
    if _CONFLICT.search(text):
        raise _conflicting(place, path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(place, path, f"is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _damaged(place, path, f"holds {str(data)[:40]!r}, expected a JSON object")
    return data


def _refuse_foreign(place: ReferenceLocation, scores: Mapping[str, Any]) -> None:
    shown, version = place.show(place.scores), scores.get("version")
    if scores.get("format") != FORMAT:
        message = (
            f"{shown} is not a reference of pytest-mipro (its format is "
            f"{scores.get('format')!r:.40}, expected {FORMAT!r}); move it away, then accept "
            f"with: {place.command}"
        )
        raise ReferenceFileError(message)
    if not isinstance(version, int) or version < 1:
        raise _damaged(place, place.scores, f"has version {version!r:.40}, expected {VERSION}")
    if version > VERSION:
        message = (
            f"the reference {shown} was written by a newer pytest-mipro (version {version} of the "
            f"file, this one reads up to {VERSION}); upgrade pytest-mipro"
        )
        raise ReferenceFileError(message)


def _reference(place: ReferenceLocation, data: dict[str, Any]) -> Reference:
    try:
        return Reference.from_dict(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(place, place.scores, f"has a wrong {where}: {first['msg']}") from error


def _refuse_contradictions(place: ReferenceLocation, reference: Reference, program: object) -> None:
    scores = (*reference.baseline.values(), *reference.compiled.values())
    bills = [each for amounts in _bills(reference) for each in amounts.values()]
    if reference.baseline.keys() != reference.compiled.keys() or not scores:
        problem = "has not the same examples under baseline and compiled"
        raise _damaged(place, place.scores, problem)
    if not all(map(math.isfinite, scores)):
        raise _damaged(place, place.scores, "holds a score that is no finite number")
    if not all(0 <= each < math.inf for amounts in bills for each in amounts.values()):
        raise _damaged(place, place.scores, "holds tokens or US dollars that are no finite number")
    if digest(reference.parts) != reference.key:
        raise _damaged(place, place.scores, "has a key that its parts do not have")
    if _digest(reference.state) != program:
        problem = f"does not go with {place.scores.name}: one of them was edited or merged alone"
        raise _damaged(place, place.program, problem)


def _digest(state: dict[str, Any]) -> str | None:
    try:
        return digest(state)
    except ValueError:  # NaN and its like, which we never write
        return None


def _damaged(place: ReferenceLocation, path: Path, problem: str) -> DamagedReference:
    message = (
        f"the reference {place.show(path)} {problem}; restore both of its files from version "
        f"control, or accept anew with: {place.command}"
    )
    return DamagedReference(message)


def _conflicting(place: ReferenceLocation, path: Path) -> DamagedReference:
    message = (
        f"the reference {place.show(path)} holds the conflict markers of a merge; take both files "
        f"from one side, e.g. git checkout --ours -- {place.shown}/{place.name}.*, or accept what "
        f"the merged code gives with: {place.command}"
    )
    return DamagedReference(message)


def _arranged(value: Any, name: str = "") -> Any:  # ruff: ignore[any-type] - it is JSON data
    """Sort the keys, but not inside demos: a prompt shows their values in their order."""
    if isinstance(value, dict) and name != "demos":
        return {each: _arranged(value[each], each) for each in sorted(value)}
    if isinstance(value, list) and name != "demos":
        return [_arranged(each) for each in value]
    return value


def _write(place: ReferenceLocation, path: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(_arranged(data), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A lone surrogate, which UTF-8 cannot spell, becomes the escape that JSON has for it.
        write_whole(path, f"{text}\n".encode("utf-8", "backslashreplace"))
    except OSError as error:
        message = (
            f"the reference {place.show(path)} cannot be written: {error.strerror or error}; "
            f"mend that, then accept with: {place.command}"
        )
        raise ReferenceFileError(message) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that whoever opens it, whenever, finds the old or the new content."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

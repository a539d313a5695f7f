"""What the DSPy state of a program may hold: prompts, and nothing that DSPy would obey."""

from __future__ import annotations

import json
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, cast

from pytest_mipro.escaping import unencodable_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HALF_CHARACTER = "one half of a character (a lone surrogate), which no model can be sent,"
_DEEPEST = 100
"""Levels of lists and objects in demos; Python ends a recursion at about a thousand calls."""


def predictors_of(state: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the states of the predictors in a program's DSPy state, by name."""
    if _is_predictor(state) and "instructions" in state["signature"]:
        return {"self": state}  # the program is a predictor itself
    return {name: value for name, value in sorted(state.items()) if _is_predictor(value)}


def labels_of(predictor: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the prompt of a predictor's state says of each field."""
    fields = predictor["signature"].get("fields", ())
    return tuple(f"{field.get('prefix', '')} {field.get('description', '')}" for field in fields)


def refused_key(state: Mapping[str, Any]) -> str:
    """Return the path and the value of the first entry that a program's state must not have.

    DSPy's ``load_state`` sets whatever else a state holds as an attribute of the predictor, such
    as a ``config`` with the address of a server.

    Returns:
        Such as ``add.config = {'api_base': …}``; empty if there is none.
    """
    predictors = predictors_of(state)
    if predictors.keys() != {"self"}:
        for name in state.keys() - predictors.keys():
            return _shown(name, state[name])
    entries = (entry for name, part in predictors.items() for entry in _refused(name, part))
    return next(entries, "")


def unsendable_part(state: Mapping[str, Any]) -> str:
    """Return the path of the first part of a prompt that no model can be sent.

    Returns:
        Such as ``add.demos[0].answer``; empty if there is none.
    """
    if _is_encodable(state):
        return ""
    for name, predictor in predictors_of(state).items():
        for part in ("signature", "demos"):
            for path in unencodable_in(predictor.get(part), f"{name}.{part}"):
                return path
    return next(unencodable_in([*state], "predictors"), "")


def missing_part(state: Mapping[str, Any]) -> str:
    """Return the path of the first part that a program's state must have and has not.

    Returns:
        Such as ``add.signature.instructions``; empty if there is none.
    """
    for name, predictor in predictors_of(state).items():
        signature = predictor["signature"]
        if "instructions" not in signature:
            return f"{name}.signature.instructions"
        for index, field in enumerate(signature.get("fields", ())):
            for part in filterfalse(field.__contains__, _FIELD):
                return f"{name}.signature.fields[{index}].{part}"
    return ""


def _is_encodable(state: Mapping[str, Any]) -> bool:
    """Whether no text of a state has half of a character, at a fraction of the time."""
    try:
        json.dumps(state, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_predictor(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("signature"), dict)


def _refused(name: str, predictor: Mapping[str, Any]) -> Iterator[str]:
    yield from _refused_entries(name, predictor, _PREDICTOR)
    signature = predictor["signature"]
    yield from _refused_entries(f"{name}.signature", signature, _SIGNATURE)
    for index, field in enumerate(signature.get("fields", ())):
        yield from _refused_entries(f"{name}.signature.fields[{index}]", field, _FIELD)


def _refused_entries(
    path: str, part: Mapping[str, Any], accepts: Mapping[str, Callable[[Any], bool]]
) -> Iterator[str]:
    for name, value in part.items():
        if name not in accepts or not accepts[name](value):
            yield _shown(f"{path}.{name}", value)


def _shown(path: str, value: object) -> str:
    return f"{path} = {value!r:.80}"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_nested_at_most(value: object, depth: int) -> bool:
    """Whether no list or object in ``value`` is deeper than code that calls itself can go."""
    if isinstance(value, dict):
        value = [*value.values()]
    if not isinstance(value, list):
        return True
    return depth > 0 and all(_is_nested_at_most(item, depth - 1) for item in value)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and _is_nested_at_most(value, _DEEPEST)


def _is_list_of_objects(value: object) -> bool:
    return _is_list(value) and all(isinstance(item, dict) for item in cast("list[object]", value))


_PREDICTOR: dict[str, Callable[[Any], bool]] = {
    "signature": lambda value: isinstance(value, dict),
    "demos": _is_list_of_objects,
    "traces": _is_list,
    "train": _is_list,
    "lm": lambda value: value is None,
}
_SIGNATURE: dict[str, Callable[[Any], bool]] = {
    "instructions": _is_text,
    "fields": _is_list_of_objects,
}
_FIELD: dict[str, Callable[[Any], bool]] = {"prefix": _is_text, "description": _is_text}

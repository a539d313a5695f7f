"""What a program is by content: its modules, predictors, signatures and demos."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import starmap
from typing import TYPE_CHECKING, Any, get_args

import dspy
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pytest_mipro.canonical import JSON, plain
from pytest_mipro.fingerprint.source import is_users
from pytest_mipro.fingerprint.values import content, path_of, state_of
from pytest_mipro.records import Prompt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pytest_mipro.fingerprint.values import Describer

_MODULE_STATE = frozenset({"callbacks", "history", "_compiled"})
_PREDICTOR_STATE = frozenset({"stage", "signature", "config", "demos", "traces", "train", "lm"})
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def prompts(program: dspy.Module) -> tuple[Prompt, ...]:
    """Return each predictor's instruction and demos, in predictor order."""
    return tuple(starmap(_prompt, program.named_predictors()))


def _prompt(name: str, predictor: dspy.Predict) -> Prompt:
    signature = signature_of(predictor)
    demos = map(demo_fields, predictor.demos)
    # A demo may list its fields in any order; people read the inputs first.
    ordered = (
        {**{field: demo[field] for field in signature.fields if field in demo}, **demo}
        for demo in demos
    )
    return Prompt(name, signature.instructions, tuple(ordered))


def signature_of(predictor: dspy.Predict) -> type[dspy.Signature]:
    """Return the predictor's signature; every predictor has one."""
    if predictor.signature is None:
        raise AssertionError(predictor)
    return predictor.signature


def demo_fields(demo: dspy.Example | Mapping[str, Any]) -> dict[str, Any]:
    """Return a demo as JSON data."""
    fields = plain(demo, fallback=lambda value: _ADDRESS.sub("", str(value)))
    if not isinstance(fields, dict):
        raise AssertionError(fields)
    return fields


def of_program(program: dspy.Module, inside: Describer) -> JSON:
    """Describe the modules of ``program``, without what a search can change in them."""
    tuned = [predictor for _, predictor in program.named_predictors()]
    for predictor in tuned:
        _follow_types(signature_of(predictor), inside)
    return _modules(program, inside, {id(predictor) for predictor in tuned})


def of_predictors(program: dspy.Module, inside: Describer) -> dict[str, dict[str, JSON]]:
    """Describe everything a search can change in ``program``, by predictor."""
    return {
        name: _predictor(predictor, inside, name) for name, predictor in program.named_predictors()
    }


@content.register(dspy.Module)
def _of_module(module: dspy.Module, inside: Describer, label: str) -> JSON:
    del label
    return _modules(module, inside, ())


def _modules(root: dspy.Module, inside: Describer, tuned: Collection[int]) -> JSON:
    found = [
        (path, module)
        for path, module in root.named_sub_modules(type_=dspy.Module)
        if isinstance(module, dspy.Module)
    ]
    for path, module in found:
        inside.refer(module, {"module": path})
    return [
        {"path": path, "class": path_of(type(module)), **_module(module, inside, path, tuned)}
        for path, module in found
    ]


def _module(
    module: dspy.Module, inside: Describer, path: str, tuned: Collection[int]
) -> dict[str, JSON]:
    inside.follow(type(module))
    is_predictor = isinstance(module, dspy.Predict)
    left_out = _MODULE_STATE | (_PREDICTOR_STATE if is_predictor else frozenset())
    state = {
        name: inside.describe(value, f"{path}.{name}")
        for name, value in sorted(state_of(module).items())
        if name not in left_out and not isinstance(value, dspy.Module)
    }
    if isinstance(module, dspy.Predict) and id(module) not in tuned:
        _follow_types(signature_of(module), inside)
        return {"state": state, "predictor": _predictor(module, inside, path)}
    return {"state": state}


def _predictor(predictor: dspy.Predict, inside: Describer, path: str) -> dict[str, JSON]:
    signature = signature_of(predictor)
    return {
        "instruction": signature.instructions,
        "fields": _fields(signature, inside),
        "demos": [demo_fields(demo) for demo in predictor.demos],
        "config": {
            name: inside.describe(value, f"{path}.config[{name!r}]")
            for name, value in sorted(predictor.config.items())
        },
        "model": None
        if predictor.lm is None
        else inside.describe(predictor.lm, f"model of {path}"),
    }


@content.register(dspy.Tool)
def _of_tool(tool: dspy.Tool, inside: Describer, label: str) -> JSON:
    # The model reads the arguments in their order.
    arguments = inside.describe(list((tool.args or {}).items()), label)
    return [tool.name, tool.desc, arguments, inside.describe(tool.func, label)]


@content.register(type(dspy.Signature))
def _of_signature(signature: type[dspy.Signature], inside: Describer, label: str) -> JSON:
    del label
    _follow_types(signature, inside)
    return [signature.instructions, _fields(signature, inside)]


@content.register(FieldInfo)
def _of_field(info: FieldInfo, inside: Describer, label: str) -> JSON:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    default = None if info.default is PydanticUndefined else info.default
    return {
        "type": _type_of(info.annotation),
        "default": inside.describe([default, info.default_factory], label),
        "limits": [_limit(limit, inside, label) for limit in info.metadata],
        "extra": {name: inside.describe(value, label) for name, value in sorted(extra.items())},
    }


def _limit(limit: object, inside: Describer, label: str) -> JSON:
    state = state_of(limit)
    described = inside.describe(state or limit, label)
    return [path_of(type(limit)), described] if state else described


def _fields(signature: type[dspy.Signature], inside: Describer) -> list[JSON]:
    return [[name, _of_field(info, inside, name)] for name, info in signature.fields.items()]


def _follow_types(signature: type[dspy.Signature], inside: Describer) -> None:
    for info in signature.fields.values():
        for cls in _classes(info.annotation):
            inside.follow(cls)


def _classes(annotation: object) -> Iterator[type]:
    if isinstance(annotation, type) and is_users(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


class _Same:
    """Makes a key of an object's identity: equal annotations may read differently."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _type_of(annotation: object) -> JSON:
    return _described_type(_Same(annotation))


@lru_cache(maxsize=512)  # a search describes the same few fields thousands of times
def _described_type(same: _Same) -> JSON:
    annotation: Any = same.value
    name = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    try:
        schema = plain(TypeAdapter(annotation).json_schema())
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        schema = None
    return {"name": name, "schema": schema}

"""Descriptions of programs by content: modules, predictors, signatures and demos."""

from __future__ import annotations

from functools import lru_cache
from itertools import starmap
from typing import TYPE_CHECKING, Any, get_origin

import dspy
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pytest_mipro.canonical import JSON, plain
from pytest_mipro.dspy_internals import MODULE_STATE
from pytest_mipro.fingerprint.annotations import annotation_text, classes_in
from pytest_mipro.fingerprint.ownership import is_users
from pytest_mipro.fingerprint.process_values import without_addresses
from pytest_mipro.fingerprint.source import path_of
from pytest_mipro.fingerprint.values import describe_metadata, state_of
from pytest_mipro.records import Prompt

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_mipro.fingerprint.code_walker import CodeWalker, Describe

_PREDICTOR_STATE = frozenset({"stage", "signature", "config", "demos", "traces", "train", "lm"})


def prompts(program: dspy.Module) -> tuple[Prompt, ...]:
    """Return each predictor's instruction and demos, in predictor order."""
    return tuple(starmap(_prompt, program.named_predictors()))


def _prompt(name: str, predictor: dspy.Predict) -> Prompt:
    signature = signature_of(predictor)
    demos = map(demo_fields, predictor.demos)
    # The fields of a demo may have any order; a reader expects the inputs first.
    ordered_demos = (
        {**{field: demo[field] for field in signature.fields if field in demo}, **demo}
        for demo in demos
    )
    fields = signature.dump_state()["fields"]
    labels = tuple(f"{field['prefix']} {field['description']}" for field in fields)
    return Prompt(name, signature.instructions, tuple(ordered_demos), labels)


def signature_of(predictor: dspy.Predict) -> type[dspy.Signature]:
    """Return the predictor's signature."""
    if predictor.signature is None:
        raise AssertionError(predictor)
    return predictor.signature


def demo_fields(demo: dspy.Example | Mapping[str, Any]) -> dict[str, Any]:
    """Return a demo as JSON data."""
    fields = plain(demo, fallback=lambda value: without_addresses(str(value)))
    if not isinstance(fields, dict):
        raise AssertionError(fields)
    return fields


def describe_program(
    program: dspy.Module, walker: CodeWalker
) -> tuple[list[JSON], dict[str, JSON]]:
    """Describe the modules of ``program`` and, by their paths, the modules' attributes.

    The predictors that a search changes are left out.
    """
    predictors = program.predictors()
    for predictor in predictors:
        _follow_types(signature_of(predictor), walker)
    searched = {id(predictor) for predictor in predictors}
    descriptions = _describe_modules(program, walker, searched)
    states = {
        f"{description['path']}.{name}": content
        for description in descriptions
        for name, content in description.pop("state").items()
    }
    return list(descriptions), states


def describe_predictors(program: dspy.Module, walker: CodeWalker) -> dict[str, dict[str, JSON]]:
    """Describe the predictors that a search changes in ``program``, by name."""
    return {
        name: _describe_predictor(predictor, walker, name)
        for name, predictor in program.named_predictors()
    }


def _describe_module(module: dspy.Module, walker: CodeWalker, label: str) -> JSON:
    del label
    return _describe_modules(module, walker, ())


def _describe_modules(
    root: dspy.Module, walker: CodeWalker, searched: Collection[int]
) -> list[dict[str, Any]]:
    """Describe ``root`` and the modules inside; ``searched`` has the ids of predictors."""
    modules = [
        (path, module)
        for path, module in root.named_sub_modules(type_=dspy.Module)
        if isinstance(module, dspy.Module)
    ]
    for path, module in modules:
        walker.set_description(module, {"module": path})
    return [
        {
            "path": path,
            "class": path_of(type(module)),
            **_describe_state(module, walker, path, searched),
        }
        for path, module in modules
    ]


def _describe_state(
    module: dspy.Module, walker: CodeWalker, path: str, searched: Collection[int]
) -> dict[str, Any]:
    walker.follow(type(module))
    walker.add_files_of(module)
    is_predictor = isinstance(module, dspy.Predict)
    ignored = MODULE_STATE | (_PREDICTOR_STATE if is_predictor else frozenset())
    state = {
        name: walker.describe(value, f"{path}.{name}")
        for name, value in sorted(state_of(module).items())
        if name not in ignored and not isinstance(value, dspy.Module)
    }
    if isinstance(module, dspy.Predict) and id(module) not in searched:
        _follow_types(signature_of(module), walker)
        return {"state": state, "predictor": _describe_predictor(module, walker, path)}
    return {"state": state}


def _describe_predictor(predictor: dspy.Predict, walker: CodeWalker, path: str) -> dict[str, JSON]:
    signature = signature_of(predictor)
    return {
        "instruction": signature.instructions,
        "fields": _describe_fields(signature, walker),
        "demos": [demo_fields(demo) for demo in predictor.demos],
        "config": {
            name: walker.describe(value, f"{path}.config[{name!r}]")
            for name, value in sorted(predictor.config.items())
        },
        "model": walker.describe(predictor.lm, f"model of {path}"),
    }


def _describe_tool(tool: dspy.Tool, walker: CodeWalker, label: str) -> JSON:
    # A list, because the prompt has the arguments in their order.
    arguments = walker.describe(list((tool.args or {}).items()), label)
    return [tool.name, tool.desc, arguments, walker.describe(tool.func, label)]


def _describe_signature(signature: type[dspy.Signature], walker: CodeWalker, label: str) -> JSON:
    del label
    _follow_types(signature, walker)
    return [signature.instructions, _describe_fields(signature, walker)]


def _describe_field(info: FieldInfo, walker: CodeWalker, label: str) -> JSON:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    default = None if info.default is PydanticUndefined else info.default
    return {
        "type": _describe_type(_Identity(info.annotation)),
        "default": walker.describe([default, info.default_factory], label),
        "limits": [
            *(_describe_constraint(item, walker, label) for item in info.metadata),
            *describe_metadata(info.annotation, walker, label),
        ],
        "extra": {name: walker.describe(value, label) for name, value in sorted(extra.items())},
    }


def _describe_constraint(constraint: object, walker: CodeWalker, label: str) -> JSON:
    state = state_of(constraint)
    if not state:
        return walker.describe(constraint, label)
    return [path_of(type(constraint)), walker.describe(state, label)]


def _describe_fields(signature: type[dspy.Signature], walker: CodeWalker) -> list[JSON]:
    return [[name, _describe_field(info, walker, name)] for name, info in signature.fields.items()]


def _follow_types(signature: type[dspy.Signature], walker: CodeWalker) -> None:
    for info in signature.fields.values():
        for cls in filter(is_users, classes_in(info.annotation)):
            walker.follow(cls)


class _Identity:
    """A cache key by an object's identity: equal annotations may have different texts."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


@lru_cache(maxsize=512)  # a search describes the same few fields thousands of times
def _describe_type(identity: _Identity) -> JSON:
    annotation: Any = identity.value
    # Not the path of a class: a class of the user has a part of its own.
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    name = annotation.__qualname__ if is_class else annotation_text(annotation)
    try:
        schema = plain(TypeAdapter(annotation).json_schema())
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        schema = None
    return {"name": name, "schema": schema}


DESCRIBERS: Mapping[type, Describe] = {
    dspy.Module: _describe_module,
    dspy.Tool: _describe_tool,
    type(dspy.Signature): _describe_signature,
    FieldInfo: _describe_field,
}
"""The function that describes values of a type."""

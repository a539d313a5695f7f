"""
What a result depends on, by content: named parts, one key, changes in words.

A fingerprint maps the name of each part ("metric", "instruction of classify")
to a digest of its content. The key is the digest of all parts. Two
fingerprints differ in parts whose names say what changed.

Code counts as its syntax tree: comments, blank lines and formatting change
nothing, names and strings do. It is followed from the declared objects
through functions, classes and constants of the user's own files; installed
packages are covered by their versions.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import sysconfig
import textwrap
import types
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from pytest_mipro.canonical import JSON, digest, plain
from pytest_mipro.dataset import identity
from pytest_mipro.errors import FingerprintError
from pytest_mipro.records import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

    from pytest_mipro.task import Metric, Task

ALGORITHM = 1
"""Raised whenever the engine would choose differently for the same inputs."""

_INSTALLED = tuple(
    {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_MODULE_STATE = frozenset({"callbacks", "history", "_compiled"})
_PREDICTOR_STATE = frozenset({"stage", "signature", "config", "demos", "traces", "train", "lm"})
_FOLLOWED = (
    *(str, int, float, bool, type(None), tuple, list, dict, set, frozenset, re.Pattern),
    *(functools.partial, types.MethodType, dspy.Module, dspy.BaseLM),
)
"""Global values worth following; of others only their use in the source counts."""
_SECRET = re.compile(r"key|token|secret|passw|credential|auth|header", re.IGNORECASE)


@dataclass(frozen=True)
class Fingerprint:
    """
    The parts of a key.

    Attributes:
        parts: Digest of each part's content, by the part's name.
        where: ``file:line`` of the parts that have one.

    """

    parts: Mapping[str, str]
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The digest over all parts."""
        return digest(dict(self.parts))

    def changes_since(self, parts: Mapping[str, str]) -> tuple[str, ...]:
        """Say in words how these parts differ from an earlier fingerprint's ``parts``."""
        names = sorted({*parts, *self.parts})
        changed = [name for name in names if parts.get(name) != self.parts.get(name)]
        rows = [name for name in changed if name.startswith(("train row ", "val row "))]
        return (
            *(self._change(name, parts) for name in changed if name not in rows),
            *_row_changes(rows, parts, self.parts),
        )

    def _change(self, name: str, parts: Mapping[str, str]) -> str:
        what = "changed" if name in parts and name in self.parts else None
        what = what or ("added" if name in self.parts else "removed")
        return f"{name} {what}" + (f" ({self.where[name]})" if name in self.where else "")


def _row_changes(
    names: Iterable[str], before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[str]:
    names = list(names)
    for split in ("train", "val"):
        own = [name for name in names if name.startswith(f"{split} row ")]
        added = sum(name not in before for name in own)
        removed = sum(name not in after for name in own)
        moved = len(own) - added - removed
        for count, verb in ((added, "added"), (removed, "removed"), (moved, "moved")):
            if count:
                yield f"{count} {split} row{'' if count == 1 else 's'} {verb}"


def of_task(task: Task, extra: Mapping[str, object] | None = None) -> Fingerprint:
    """
    Return the compile fingerprint: everything that can change the artifact.

    Args:
        task: The task.
        extra: Further parts by name, such as what plugins add.

    Raises:
        FingerprintError: Something decides the result but has no content to
            hash, and the task declares no ``version``.

    """
    code = _Code(lenient=task.version is not None)
    parts = {
        **_program_parts(task.program, code),
        **({} if task.teacher is None else _teacher_parts(task.teacher, code)),
        "metric": code.describe(task.metric, "metric"),
        "model": model(task.lm),
        "prompt model": model(task.prompt_lm),
        "teacher model": None if task.teacher_lm is None else model(task.teacher_lm),
        "adapter": adapter(task.adapter),
        **{f"option {name}": value for name, value in vars(task.options).items()},
        **_row_parts("train", task.dataset.train),
        **_row_parts("val", task.dataset.val),
        "DSPy version": version("dspy"),
        "Optuna version": version("optuna"),
        "algorithm version": ALGORITHM,
        "declared version": task.version,
        **{name: plain(value) for name, value in (extra or {}).items()},
        **code.parts,
    }
    where = {**code.where, "metric": location(task.metric)}
    return Fingerprint({name: digest(plain(part)) for name, part in parts.items()}, where)


def of_evaluation(
    program: dspy.Module,
    metric: Metric,
    lm: dspy.BaseLM,
    row_adapter: dspy.Adapter | None,
    declared: str | None = None,
) -> str:
    """
    Return the digest of what all rows of one task share: code, metric, model, adapter.

    Raises:
        FingerprintError: As ``of_task``.

    """
    code = _Code(lenient=declared is not None)
    described = {
        "metric": code.describe(metric, "metric"),
        "modules": _module_parts(program, code),
        "model": model(lm),
        "adapter": adapter(row_adapter),
        "version": declared,
        "dspy": version("dspy"),
    }
    return digest(plain({**described, "code": code.parts}))


def of_prompts(program: dspy.Module) -> str:
    """Return the digest of everything a search can change in ``program``, and its fields."""
    return digest(plain({name: _predictor(part) for name, part in program.named_predictors()}))


def prompts(program: dspy.Module) -> tuple[Prompt, ...]:
    """Return each predictor's instruction and demos, in predictor order."""
    return tuple(
        Prompt(
            name,
            predictor.signature.instructions,
            tuple(demo_fields(demo) for demo in predictor.demos),
        )
        for name, predictor in program.named_predictors()
    )


def signature_of(predictor: dspy.Predict) -> type[dspy.Signature]:
    """Return the predictor's signature; every predictor has one."""
    if predictor.signature is None:
        raise AssertionError(predictor)
    return predictor.signature


def demo_fields(demo: dspy.Example | Mapping[str, Any]) -> dict[str, Any]:
    """Return a demo as JSON data."""
    fields = plain(demo, fallback=str)
    if not isinstance(fields, dict):
        raise AssertionError(fields)
    return fields


def location(value: object) -> str:
    """Return ``file:line`` of a function or class, or an empty string."""
    target = inspect.unwrap(value) if callable(value) else value
    try:
        path = inspect.getsourcefile(target)  # type: ignore[arg-type]  # refused below
        line = inspect.getsourcelines(target)[1]  # type: ignore[arg-type]
    except (TypeError, OSError):
        return ""
    return f"{Path(path).name}:{line}" if path else ""


def model(lm: dspy.BaseLM) -> dict[str, JSON]:
    """Describe which model answers and how it samples; never a credential."""
    kwargs = {
        name: plain(value, fallback=repr)
        for name, value in sorted(lm.kwargs.items())
        if name not in CLIENT_KEYS and not _SECRET.search(name)
    }
    engine = getattr(lm, "_engine_spec", None)
    return {
        "class": _path(type(lm)),
        "model": lm.model,
        "type": lm.model_type,
        "endpoint": _endpoint(lm.kwargs.get("api_base") or lm.kwargs.get("base_url")),
        "engine": engine if isinstance(engine, str | None) else _engine(engine),
        "sampling": kwargs,
    }


def _engine(engine: object) -> JSON:
    dump = getattr(engine, "dump_state", None)
    return {"class": _path(type(engine)), "state": plain(dump()) if callable(dump) else None}


def _endpoint(url: object) -> str | None:
    if not url:
        return None
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def adapter(value: dspy.Adapter | None) -> JSON:
    """Describe the adapter: its class and public attributes."""
    if value is None:
        return None
    public = {
        name: plain(item, fallback=repr)
        for name, item in sorted(vars(value).items())
        if not name.startswith("_") and name != "callbacks"
    }
    return {"class": _path(type(value)), "attributes": public}


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _row_parts(split: str, rows: Sequence[dspy.Example]) -> dict[str, JSON]:
    return {f"{split} row {identity(row)[:12]}": index for index, row in enumerate(rows)}


def _teacher_parts(teacher: dspy.Module, code: _Code) -> dict[str, JSON]:
    return {f"teacher {name}": part for name, part in _program_parts(teacher, code).items()}


def _program_parts(program: dspy.Module, code: _Code) -> dict[str, JSON]:
    parts: dict[str, JSON] = {"modules": _module_parts(program, code)}
    for name, predictor in program.named_predictors():
        for part, content in _predictor(predictor).items():
            parts[f"{part} of {name}"] = content
    return parts


def _predictor(predictor: dspy.Predict) -> dict[str, JSON]:
    signature = signature_of(predictor)
    return {
        "instruction": signature.instructions,
        "fields": _fields(signature),
        "demos": [demo_fields(demo) for demo in predictor.demos],
        "config": plain(predictor.config, fallback=repr),
        "model": None if predictor.lm is None else model(predictor.lm),
    }


def _fields(signature: type[dspy.Signature]) -> list[JSON]:
    return list(starmap(_field, signature.fields.items()))


def _field(name: str, info: FieldInfo) -> JSON:
    extra = info.json_schema_extra
    if not isinstance(extra, dict):
        raise AssertionError(info)
    return {
        "name": name,
        "role": extra.get("__dspy_field_type"),
        "prefix": extra.get("prefix"),
        "description": extra.get("desc"),
        "type": _type(info.annotation),
        "default": plain(info.default, fallback=lambda value: _path(type(value))),
    }


def _type(annotation: Any) -> JSON:  # ruff: ignore[any-type]  # an annotation can be anything
    name = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    try:
        schema = plain(TypeAdapter(annotation).json_schema())
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        schema = None
    return {"name": name, "schema": schema}


def _module_parts(program: dspy.Module, code: _Code) -> JSON:
    return [
        {"path": path, "class": _path(type(module)), "state": _module_state(module, path, code)}
        for path, module in program.named_sub_modules(type_=dspy.Module)
        if isinstance(module, dspy.Module)
    ]


def _module_state(module: dspy.Module, path: str, code: _Code) -> JSON:
    code.follow(type(module))
    skipped = _MODULE_STATE | (
        _PREDICTOR_STATE if isinstance(module, dspy.Predict) else frozenset()
    )
    return {
        name: code.describe(value, f"{path}.{name}")
        for name, value in sorted(vars(module).items())
        if name not in skipped and not isinstance(value, dspy.Module)
    }


class _Code:
    """
    Follows the user's code from the objects that were declared.

    Args:
        lenient: Take a value without content for nothing, because the user
            vouches for it with ``version=``.

    """

    def __init__(self, *, lenient: bool) -> None:
        self.parts: dict[str, JSON] = {}
        self.where: dict[str, str] = {}
        self._lenient = lenient

    def follow(self, code: types.FunctionType | type) -> None:
        """Add the source of a function or class of the user's, and all it reaches."""
        if not _is_users(code):
            return
        name = f"code of {code.__module__}.{code.__qualname__}"
        if name in self.parts:
            return
        self.parts[name] = _source(code)
        self.where[name] = location(code)
        if isinstance(code, type):
            for base in code.__mro__[1:]:
                self.follow(base)
            for function in _functions(code):
                self._follow_function(function)
        else:
            self._follow_function(code)

    def _follow_function(self, function: types.FunctionType) -> None:
        label = f"{function.__module__}.{function.__qualname__}"
        self.parts[f"defaults of {label}"] = [
            self.describe(function.__defaults__, label),
            self.describe(function.__kwdefaults__, label),
        ]
        closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in closure:
            value = _cell(cell)
            self.parts[f"value of {name} in {label}"] = self.describe(value, f"{name} in {label}")
        for name, value in _globals(function):
            self._follow_global(name, value, label)

    def _follow_global(self, name: str, value: object, label: str) -> None:
        if isinstance(value, types.FunctionType | type):
            self.follow(value)
        elif isinstance(value, _FOLLOWED):
            self.parts[f"value of {name} in {label}"] = self.describe(value, f"{name} in {label}")

    def describe(self, value: object, label: str) -> JSON:
        """
        Describe a value by its content, following code it holds.

        Raises:
            FingerprintError: The value has none, and nobody vouches for it.

        """
        known = self._describe_code(value, label)
        if known is not None:
            return known
        if isinstance(value, dict):
            return [[self.describe(k, label), self.describe(v, label)] for k, v in value.items()]
        if isinstance(value, list | tuple):
            return [self.describe(item, label) for item in value]
        return plain(value, fallback=functools.partial(self._unknown, label=label))

    def _describe_code(self, value: object, label: str) -> JSON:
        if isinstance(value, types.FunctionType | type):
            return self._describe_definition(value)
        if isinstance(value, types.MethodType):
            return [self.describe(value.__func__, label), self.describe(value.__self__, label)]
        if isinstance(value, functools.partial):
            return [self.describe(part, label) for part in (value.func, value.args, value.keywords)]
        if isinstance(
            value, types.BuiltinFunctionType | types.ModuleType | types.WrapperDescriptorType
        ):
            return value.__name__
        if isinstance(value, re.Pattern):
            return [str(value.pattern), value.flags]
        if isinstance(value, dspy.BaseLM):
            return model(value)
        if isinstance(value, dspy.Module):
            return _module_parts(value, self)
        if isinstance(value, dspy.Tool):
            return [
                value.name,
                value.desc,
                plain(value.args, fallback=str),
                self.describe(value.func, label),
            ]
        return None

    def _describe_definition(self, value: types.FunctionType | type) -> JSON:
        if isinstance(value, type) and issubclass(value, dspy.Signature):
            return [value.instructions, _fields(value)]
        self.follow(value)
        return [
            f"{value.__module__}.{value.__qualname__}",
            _source(value) if _is_users(value) else None,
        ]

    def _unknown(self, value: object, label: str) -> JSON:
        state = getattr(value, "__dict__", None)
        if _is_users(type(value)) and isinstance(state, dict):
            self.follow(type(value))
            return {
                name: self.describe(item, f"{label}.{name}") for name, item in sorted(state.items())
            }
        if self._lenient:
            return None
        message = (
            f"{label} is {value!r:.80}, of type {_path(type(value))}, which cannot be hashed "
            "by content, so a change in it would go unnoticed; declare version='...' on the test "
            "and change it whenever that value changes"
        )
        raise FingerprintError(message)


def _functions(cls: type) -> Iterator[types.FunctionType]:
    for attribute in vars(cls).values():
        plain_attribute = attribute.fget if isinstance(attribute, property) else attribute
        function = getattr(plain_attribute, "__func__", plain_attribute)
        unwrapped = inspect.unwrap(function) if callable(function) else function
        if isinstance(unwrapped, types.FunctionType):
            yield unwrapped


def _cell(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        # An empty cell: the name is bound later, as a class refers to itself.
        return None


def _globals(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    names = set(_names(function.__code__))
    scope = function.__globals__
    for name in sorted(names & scope.keys()):
        value = scope[name]
        if isinstance(value, types.ModuleType) and _is_users_file(getattr(value, "__file__", None)):
            for attribute in sorted(names & vars(value).keys()):
                yield f"{name}.{attribute}", vars(value)[attribute]
        else:
            yield name, value


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _source(code: types.FunctionType | type) -> JSON:
    if getattr(code, "__name__", "") != "<lambda>":
        try:
            return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(code))))
        except (OSError, TypeError, SyntaxError):
            pass  # Typed at a prompt or built by exec: the bytecode has to do.
    if isinstance(code, types.FunctionType):
        return _bytecode(code.__code__)
    return [[function.__qualname__, _bytecode(function.__code__)] for function in _functions(code)]


def _bytecode(code: types.CodeType) -> JSON:
    constants: list[JSON] = [
        _bytecode(constant) if isinstance(constant, types.CodeType) else repr(constant)
        for constant in code.co_consts
    ]
    names: list[JSON] = [*code.co_names, *code.co_varnames]
    return [code.co_code.hex(), constants, names, sys.version_info[:2][1]]


def _is_users(code: types.FunctionType | type) -> bool:
    module = sys.modules.get(code.__module__ or "")
    path = getattr(module, "__file__", None)
    if path is None and isinstance(code, types.FunctionType):
        path = code.__code__.co_filename
    return _is_users_file(path)


def _is_users_file(path: str | None) -> bool:
    return path is not None and not path.startswith((*_INSTALLED, "<frozen"))

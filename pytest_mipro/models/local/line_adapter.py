"""LineAdapter: a DSPy adapter with one ``Label: value`` line per field, for very small models.

A very small model answers worse if the prompt has markers or JSON. A grammar made
from the signature keeps the embedded model to plain lines. The parts that calls share,
the instruction and the demos, come first, as turns of their own, so that the prompt
cache can hold them.
"""

from __future__ import annotations

import json
import re
import types
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args, get_origin

from dspy import Adapter, AdapterParseError, History, Reasoning
from pydantic import BaseModel

from pytest_mipro.dspy_internals import (
    apply_output_field_defaults,
    custom_engine,
    find_enum_member,
    format_field_value,
    get_annotation_name,
    parse_value,
)
from pytest_mipro.errors import DeclarationError
from pytest_mipro.models.local.engine import LlamaEngine, grammar_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import dspy
    from pydantic.fields import FieldInfo

Signature: TypeAlias = "type[dspy.Signature]"

# llama.cpp's json_schema_to_grammar returns an llguidance grammar here. That cannot be part of
# GBNF, and the same lines written wholly in llguidance make the model give other texts.
_JSON_STRING = r'"\"" ([^"\\\x00-\x1f] | "\\" ["\\/bfnrt])* "\""'
_SCALARS: dict[Any, str] = {
    str: f"({_JSON_STRING})",
    int: '("-"? [0-9]{1,15})',
    float: '("-"? [0-9]{1,15} ("." [0-9]{1,15})?)',
    bool: '("true" | "false")',
    types.NoneType: '"null"',
}
_FREE_TEXT = r"[^ \t\r\n] [^\x00]*"
_MAX_DEPTH = 3  # a model that contains itself has no end


class LineAdapter(Adapter):
    """Formats a call as ``Label: value`` lines and reads the answer back from such lines.

    The embedded model follows a grammar. Any other model gets an instruction, and
    an answer in another format raises ``AdapterParseError``. Values are single
    lines, except those of inputs and of the last output.

    Args:
        line_length: Most characters the embedded model may put on a line of
            text that is followed by another field, so that it gets to the next.
        missing: The text for a value that a demo does not have.
    """

    def __init__(self, *, line_length: int = 240, missing: str = "(not given)") -> None:
        super().__init__()
        # Nothing native: the fields of a signature are its lines, for every model.
        self.native_response_types: list[type[dspy.Type]] = []
        self.line_length = line_length
        self.missing = missing

    def __call__(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: Signature,
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Return the answers as values by output field."""
        lm_kwargs, signature = self._bind(lm, lm_kwargs, signature)
        answers: list[dict[str, Any]] = super().__call__(lm, lm_kwargs, signature, demos, inputs)
        return answers

    async def acall(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: Signature,
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Return the answers as values by output field."""
        lm_kwargs, signature = self._bind(lm, lm_kwargs, signature)
        answers: list[dict[str, Any]] = await super().acall(lm, lm_kwargs, signature, demos, inputs)
        return answers

    def grammar(self, signature: Signature) -> str:
        """Return the GBNF grammar of an answer, after the first label.

        Raises:
            DeclarationError: A field has a type that does not fit on a line.
        """
        rule = ""
        last = list(signature.output_fields)[-1]
        for name, field in signature.output_fields.items():
            label = f"\n{_label(name, field)}: " if rule else " "
            rule += f"{_literal(label)} {self._value(name, field, is_last=name == last)} "
        return f"root ::= {rule}"

    def format_system_message(self, signature: Signature) -> str:
        """Return the instruction and what the fields' descriptions add to it."""
        described = [
            f"{_label(name, field)}: {description}"
            for name, field in signature.fields.items()
            if (description := _description(name, field))
        ]
        return "\n".join([signature.instructions.strip(), *described])

    def format_user_message_content(
        self,
        signature: Signature,
        inputs: Mapping[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,  # ruff: ignore[boolean-type-hint-positional-argument, boolean-default-value-positional-argument]  # DSPy's
    ) -> str:
        """Return one line for each input that has a value."""
        lines = [
            f"{_label(name, field)}: {format_field_value(field, inputs[name])}"
            for name, field in signature.input_fields.items()
            if name in inputs and field.annotation is not History
        ]
        if main_request and not lines:
            lines = [self.missing]
        return "\n".join(line for line in (prefix, *lines, suffix) if line)

    def format_assistant_message_content(
        self,
        signature: Signature,
        outputs: Mapping[str, Any],
        missing_field_message: str | None = None,
    ) -> str:
        """Return the lines of an answer with these outputs."""
        missing = missing_field_message or self.missing
        last = list(signature.output_fields)[-1]
        lines = []
        for name, field in signature.output_fields.items():
            value = outputs.get(name)
            text = missing if value is None else _text(field, value)
            if name != last:
                text = " ".join(text.split())
            lines.append(f"{_label(name, field)}: {text}")
        return "\n".join(lines)

    def format_demos(
        self, signature: Signature, demos: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return two turns for each demo that has an input and an output."""
        messages = []
        for demo in demos:
            present = {name for name in signature.fields if demo.get(name) is not None}
            if present.isdisjoint(signature.input_fields) or present.isdisjoint(
                signature.output_fields
            ):
                continue
            inputs = {
                name: demo[name] if name in present else self.missing
                for name in signature.input_fields
            }
            question = self.format_user_message_content(signature, inputs)
            answer = self.format_assistant_message_content(signature, demo)
            messages += [_message("user", question), _message("assistant", answer)]
        return messages

    def parse(self, signature: Signature, completion: str) -> dict[str, Any]:
        """Return the values by output field.

        Raises:
            AdapterParseError: A value is missing or not of its field's type.
        """
        values: dict[str, Any] = {}
        for name, text in _sections(signature, completion).items():
            try:
                values[name] = _parsed(signature.output_fields[name], text)
            except ValueError as error:  # ruff: ignore[try-except-in-loop]  # it names the field
                raise self._unreadable(
                    signature, completion, values, f"field {name!r}: {error}"
                ) from error
        values = apply_output_field_defaults(signature, values)
        absent = [name for name in signature.output_fields if name not in values]
        if absent:
            raise self._unreadable(signature, completion, values, f"no line for {absent}")
        return values

    def _unreadable(
        self,
        signature: Signature,
        completion: str,
        values: Any,  # ruff: ignore[any-type]  # DSPy says str and needs a dict
        message: str,
    ) -> AdapterParseError:
        return AdapterParseError(
            adapter_name=type(self).__name__,
            signature=signature,
            lm_response=completion,
            message=message,
            parsed_result=values,
        )

    def _bind(
        self, lm: dspy.BaseLM, lm_kwargs: dict[str, Any], signature: Signature
    ) -> tuple[dict[str, Any], Signature]:
        """Add a grammar for the embedded model, and an instruction for any other model."""
        if isinstance(custom_engine(lm), LlamaEngine):
            name, field = next(iter(signature.output_fields.items()))
            grammar = grammar_format(self.grammar(signature), prefix=f"{_label(name, field)}:")
            return {"response_format": grammar, **lm_kwargs}, signature
        # Measured: the embedded model answers worse with this in its prompt.
        lines = [
            f"{_label(name, field)}: {_kind(field)}"
            for name, field in signature.output_fields.items()
        ]
        instruction = "\n".join([signature.instructions, "", "Answer with these lines:", *lines])
        return lm_kwargs, signature.with_instructions(instruction)

    def _value(self, name: str, field: FieldInfo, *, is_last: bool) -> str:
        """Return the grammar of one field's value."""
        if _is_text(field.annotation):
            line = rf"[^ \t\r\n] [^\r\n]{{0,{self.line_length - 1}}}"
            return _FREE_TEXT if is_last else line
        choices = _choices(field.annotation)
        if choices:
            return _any_of(_literal(choice) for choice in choices)
        rule = _json_rule(field.annotation)
        if rule is None:
            message = (
                f"output field {name!r} has the type {field.annotation!r}, which LineAdapter "
                "cannot put on a line; use str, bool, int, float, an Enum, a Literal, or lists, "
                "dicts and Pydantic models of these, or give the task another adapter"
            )
            raise DeclarationError(message)
        return rule


def _label(name: str, field: FieldInfo) -> str:
    extra: Any = field.json_schema_extra
    return str(extra.get("prefix") or name).strip().rstrip(":")


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _is_text(annotation: object) -> bool:
    kinds = set(_members(annotation)) - {types.NoneType}
    return len(kinds) == 1 and kinds <= {str, Reasoning}


def _members(annotation: object) -> tuple[object, ...]:
    """Return the members of a union, or the annotation alone."""
    is_union = get_origin(annotation) in {Union, types.UnionType}
    return get_args(annotation) if is_union else (annotation,)


def _choices(annotation: object) -> list[str]:
    """Return every value of a type that has few, as text; nothing for other types."""
    if annotation is bool:
        return ["True", "False"]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [_member_text(member) for member in annotation]
    return []


def _member_text(member: Enum) -> str:
    # parse_value finds a member by its value, if that is text, or by its name.
    return member.value if isinstance(member.value, str) else member.name


def _text(field: FieldInfo, value: object) -> str:
    """Return an output value as text that follows the grammar of its field."""
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        member = value if isinstance(value, annotation) else find_enum_member(annotation, value)
        return _member_text(member)
    return str(format_field_value(field, value)).strip()


def _parsed(field: FieldInfo, text: str) -> object:
    value: object = parse_value(text, field.annotation)
    return value


def _description(name: str, field: FieldInfo) -> str:
    extra: Any = field.json_schema_extra
    description = str(extra.get("desc") or "")
    return "" if description == f"${{{name}}}" else description


def _kind(field: FieldInfo) -> str:
    """Return a description of the values that a field's line may have."""
    choices = _choices(field.annotation)
    if choices:
        return " | ".join(choices)
    if _is_text(field.annotation):
        return "text"
    return str(get_annotation_name(field.annotation))


def _sections(signature: Signature, completion: str) -> dict[str, str]:
    """Return the text of each field: from its label to the label of the next one found."""
    starts: list[tuple[str, int, int]] = []
    position = 0
    for name, field in signature.output_fields.items():
        label = re.escape(_label(name, field))
        pattern = re.compile(rf"^[ \t>*_#-]*{label}[*_]*:[*_]*", re.IGNORECASE | re.MULTILINE)
        match = pattern.search(completion, position)
        if match:
            starts.append((name, match.start(), position := match.end()))
        elif not starts and len(signature.output_fields) == 1:
            starts.append((name, 0, 0))  # a lone value needs no label
    ends = [start for _, start, _ in starts[1:]] + [len(completion)]
    return {
        name: completion[begin:end].strip()
        for (name, _, begin), end in zip(starts, ends, strict=True)
    }


def _literal(text: str) -> str:
    """Return GBNF for exactly this text."""
    return json.dumps(text, ensure_ascii=False)


def _any_of(rules: Iterable[str]) -> str:
    return f"({' | '.join(rules)})"


def _json_rule(annotation: Any, depth: int = 0) -> str | None:  # ruff: ignore[any-type]
    """Return GBNF for a value as JSON on one line, or None if it is not that simple."""
    if depth > _MAX_DEPTH:
        return None
    if get_origin(annotation) is Literal:
        return _any_of(_literal(json.dumps(choice)) for choice in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _any_of(_literal(json.dumps(member.value)) for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _object_rule(annotation, depth)
    members = _members(annotation)
    if len(members) > 1:
        rules = [_json_rule(member, depth) for member in members]
        return None if None in rules else _any_of(rule for rule in rules if rule)
    return _SCALARS.get(annotation) or _container_rule(annotation, depth)


def _container_rule(annotation: Any, depth: int) -> str | None:  # ruff: ignore[any-type]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin not in {list, dict} or (origin is dict and args[0] is not str):
        return None
    item = _json_rule(args[-1], depth + 1)
    if item is None:
        return None
    if origin is list:
        return f'("[" ({item} (", " {item})*)? "]")'
    pair = f'{_JSON_STRING} ": " {item}'
    return f'("{{" ({pair} (", " {pair})*)? "}}")'


def _object_rule(model: type[BaseModel], depth: int) -> str | None:
    pairs = []
    for name, field in model.model_fields.items():
        value = _json_rule(field.annotation, depth + 1)
        if value is None:
            return None
        pairs.append(f"{_literal(json.dumps(field.alias or name) + ': ')} {value}")
    members = ' ", " '.join(pairs)
    return f'("{{" {members} "}}")'

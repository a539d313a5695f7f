"""The tables of the site that come from the code: options, arguments, fixtures, report fields."""

from __future__ import annotations

import inspect
import re
import typing
from dataclasses import MISSING, fields
from itertools import starmap
from typing import TYPE_CHECKING, Any

from pytest_mipro import plugin
from pytest_mipro.plugin import fixtures as plugin_fixtures
from pytest_mipro.plugin.options import Lines, Switch
from pytest_mipro.plugin.settings import options
from pytest_mipro.report.json_report import schema
from pytest_mipro.task import Budget
from pytest_mipro.task.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_mipro.plugin.options import Option


def option_table() -> str:
    """Return the flags and ini options with the sentence that ``pytest --help`` shows."""
    first = ("`--mipro`", "`mipro = true`", "Run the tests that compile prompts.")
    rows = [(_flag(option), _ini(option), option.help) for _, option in options()]
    return _table(("flag", "ini option", "meaning"), [first, *rows])


def _flag(option: Option) -> str:
    return f"`{option.flag} {option.metavar or ''}".rstrip() + "`" if option.has_flag else ""


def _ini(option: Option) -> str:
    if not option.has_ini:
        return ""
    if isinstance(option, Switch):
        return f"`{option.key} = true`"
    return f"`{option.key}`" + (", a line each" if isinstance(option, Lines) else "")


def search_table() -> str:
    """Return the options of a search, with their types and defaults."""
    return _attribute_table(Options)


def budget_table() -> str:
    """Return the limits of a budget."""
    return _attribute_table(Budget)


def _attribute_table(record: type[Any]) -> str:
    meanings = attributes_of(inspect.getdoc(record) or "")
    hints = typing.get_type_hints(record)
    rows = [
        (
            f"`{field.name}`",
            f"`{_type(hints[field.name])}`",
            "" if field.default is MISSING else f"`{field.default!r}`",
            meanings[field.name],
        )
        for field in fields(record)
    ]
    return _table(("argument", "type", "default", "meaning"), rows)


def _type(hint: object) -> str:
    """Return a type, in one form for each way to write that it may be None."""
    if type(None) in typing.get_args(hint):
        return " | ".join(map(_type, typing.get_args(hint)))
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    return text.replace("NoneType", "None").replace("typing.", "")


def fixture_table() -> str:
    """Return the fixtures with the first sentence of their docstrings."""
    names = [name for name in plugin.__all__ if name.startswith("mipro")]
    rows = []
    for name in names:
        fixture = getattr(plugin_fixtures, name, None)
        if fixture is not None:
            rows.append((f"`{name}`", _plain((inspect.getdoc(fixture) or "").partition("\n\n")[0])))
    return _table(("fixture", "what it is"), rows)


def report_tables() -> str:
    """Return a section for each record of a JSON report, with its fields."""
    document = schema()
    records = {"The document": document, **document["$defs"]}
    return "\n\n".join(starmap(_record_section, records.items()))


def _record_section(name: str, record: Mapping[str, Any]) -> str:
    docstring = inspect.cleandoc(record.get("description", ""))
    about, _, _ = docstring.partition("\n\nAttributes:")
    meanings = attributes_of(docstring)
    rows = [
        (f"`{field}`", _schema_type(about_field), meanings.get(field, ""))
        for field, about_field in record["properties"].items()
    ]
    head: tuple[str, ...] = ("field", "type", "meaning")
    if not any(meaning for *_, meaning in rows):
        head, rows = head[:2], [row[:2] for row in rows]  # type: ignore[misc]  # all or none
    return f"## {name}\n\n{_plain(about)}\n\n{_table(head, rows)}"


def _schema_type(field: Mapping[str, Any]) -> str:
    """Return the type of a field in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(map(_schema_type, field["anyOf"]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    types = field.get("type", "any")
    if types == "array" and field.get("items"):
        return f"array of {_schema_type(field['items'])}"
    if types == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_schema_type(field['additionalProperties'])}"
    return types if isinstance(types, str) else " or ".join(types)


def attributes_of(docstring: str) -> dict[str, str]:
    """Return what a docstring says of each attribute."""
    _, _, section = docstring.partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w+): (.+(?:\n {8,}.+)*)", section, re.MULTILINE)
    return {name: _plain(" ".join(text.split())) for name, text in entries}


def _plain(text: str) -> str:
    """Return a docstring's text as Markdown."""
    return text.replace("``", "`")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines += [["---"] * len(lines[0])]
    lines += [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: Mapping[str, Callable[[], str]] = {
    "options": option_table,
    "search": search_table,
    "budget": budget_table,
    "fixtures": fixture_table,
    "report": report_tables,
}
"""The tables by the name that a page calls them by."""

"""Find the secrets that objects hold: models, programs, metrics, and whatever is in their reach."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from itertools import islice
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from pytest_mipro.redaction.names import Strength, is_secret_value, snake_case, strength
from pytest_mipro.redaction.texts import secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from types import TracebackType

_MOST_OBJECTS = 20_000
"""Objects that one search visits at most; a program may hold a hundred thousand documents."""
_MOST_ITEMS = 200
"""Items of one collection that a search visits."""
_MOST_MAPPINGS = 20
"""Mappings among the parameters of a model."""
_LEAST_UNNAMED = 12
"""Characters of the shortest value of a header that is secret though its name is not."""
_UNINTERESTING = frozenset({"history", "callbacks"})
"""Attributes of models that hold requests and answers."""
_DATA = ("dspy.primitives.example", "dspy.primitives.prediction")
"""The modules of examples and predictions, whose fields have the names of a dataset."""
_LIBRARIES = sys.stdlib_module_names | {"dspy", "pydantic", "pydantic_core", "regex"}
"""Packages whose classes and functions hold no secrets of users; their objects may."""
_OPAQUE = frozenset({"pydantic", "pydantic_core", "re", "typing"})
"""Packages whose objects hold none either."""
_PLAIN_HEADERS = frozenset({"accept", "accept_encoding", "content_type", "user_agent"})
_MOST_CLASSES = 1000
"""Classes whose slots are remembered; an error has many objects of few classes in its frames."""
_slots: dict[int, tuple[type, tuple[str, ...]]] = {}
"""Classes with the names of their slots, by their ids, as not every class has a hash."""
_LEAF = BuiltinFunctionType | CodeType | bool | float | int | complex | bytes | None
_NO_OWNER = ModuleType | type | FunctionType | _LEAF | str
"""Variables of these types have no attributes in which a secret is looked for."""


class SecretSearch:
    """One search, in which each object is visited once.

    Attributes:
        secrets: The secrets so far.
    """

    def __init__(self, patterns: Collection[str] = (), most: int = _MOST_OBJECTS) -> None:
        """Search under further names, which ``patterns`` match, in ``most`` objects."""
        self.secrets: set[str] = set()
        self._patterns = patterns
        self._left = most
        self._visited: dict[int, object] = {}

    def visit(self, roots: Iterable[object]) -> None:
        """Add the secrets in reach of ``roots``, the nearest objects first."""
        queue = list(roots)
        while queue and self._left > 0:
            queue = [item for value in queue for item in self._step(value)]

    def add(self, name: object, value: object) -> None:
        """Add ``value``, or what it holds, if ``name`` and its looks say that it is secret."""
        name_strength = strength(name, self._patterns) if isinstance(name, str) else Strength.PUBLIC
        if name_strength is Strength.PUBLIC:
            return
        for text in _texts_in(value, self._patterns):
            candidates = _candidates(text)
            self.secrets.update(part for part in candidates if is_secret_value(part, name_strength))

    def _step(self, value: object) -> Iterator[object]:
        """Add the secrets that ``value`` itself names, and yield what to visit next."""
        if isinstance(value, str):
            self.secrets.update(secrets_in_urls(value))
        elif not isinstance(value, _LEAF) and id(value) not in self._visited and self._left > 0:
            self._visited[id(value)] = value  # Alive, so that no later object has its id.
            self._left -= 1
            for name, item in _named_parts(value):
                if name not in _UNINTERESTING:
                    self.add(name, item)
                    if not isinstance(value, ModuleType):
                        yield item


def secrets_of_model(model: object, patterns: Collection[str]) -> set[str]:
    """Return the secrets in the attributes and the parameters of a model, but no further."""
    search = SecretSearch(patterns)
    mappings = [_namespace(model)]
    for _ in range(_MOST_MAPPINGS):
        if not mappings:
            break
        for name, value in _entries(mappings.pop()):
            search.add(name, value)
            if isinstance(value, str):
                search.secrets.update(secrets_in_urls(value))
            elif isinstance(value, dict):
                mappings.append(value)
    return search.secrets


def secrets_in_frames(error: BaseException, patterns: Collection[str]) -> set[str]:
    """Return the secrets in the variables of the frames that raised ``error``."""
    search = SecretSearch(patterns, most=_MOST_ITEMS)
    visited: dict[int, object] = {}  # Alive, so that no later object has its id.
    for trace in _traces(error):
        for name, value in _entries(trace.tb_frame.f_locals):
            # A variable that is called ``key`` or ``token`` mostly holds a word.
            if strength(name, patterns) > Strength.POSSIBLE:
                search.add(name, value)
            # The frames of one call after the other have many variables in common.
            if not isinstance(value, _NO_OWNER) and id(value) not in visited:
                visited[id(value)] = value
                for attribute, item in _attributes(value):
                    search.add(attribute, item)
    return search.secrets


def _traces(error: BaseException) -> Iterator[TracebackType]:
    chain: list[BaseException | None] = [error]
    visited: set[int] = set()
    while chain:
        link = chain.pop()
        if link is None or id(link) in visited:
            continue
        visited.add(id(link))
        chain += [link.__cause__, link.__context__]
        trace = link.__traceback__
        while trace is not None:
            yield trace
            trace = trace.tb_next


def _candidates(text: str) -> set[str]:
    """Return a text, and the words of it that may be secrets alone, as in "Bearer sk-..."."""
    words = text.split()
    if len(words) == len(("scheme", "credentials")):
        return {text, words[1]}
    return {text, *(word for word in words if len(word) >= _LEAST_UNNAMED)}


def _texts_in(value: object, patterns: Collection[str]) -> Iterator[str]:
    """Yield the texts that the value of a secret parameter holds."""
    reveal = getattr(type(value), "get_secret_value", None)  # pydantic's SecretStr has it
    if reveal is not None:
        value = reveal(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | bytearray):
        yield bytes(value).decode("utf-8", "replace")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, Mapping):
        for name, item in _entries(value):
            yield from _texts_under(str(name), item, patterns)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in _items(value):
            yield from _texts_in(item, patterns)


def _entries(mapping: Mapping[Any, object]) -> Iterator[tuple[Any, object]]:
    """Yield the first entries of a mapping that other threads may be changing."""
    copied = dict.copy(mapping) if isinstance(mapping, dict) else mapping  # a copy is one step
    return islice(copied.items(), _MOST_ITEMS)


def _items(values: Collection[object]) -> Iterator[object]:
    """Yield the first items of a collection that other threads may be changing."""
    return islice(set.copy(values) if isinstance(values, set) else values, _MOST_ITEMS)


def _texts_under(name: str, value: object, patterns: Collection[str]) -> Iterator[str]:
    """Yield the texts of an entry of a secret mapping, such as of headers."""
    is_named = strength(name, patterns) > Strength.PUBLIC
    if is_named or snake_case(name) not in _PLAIN_HEADERS:
        texts = _texts_in(value, patterns)
        yield from (text for text in texts if is_named or len(text) >= _LEAST_UNNAMED)


def _named_parts(value: object) -> Iterator[tuple[object, object]]:
    """Yield what ``value`` refers to, with the names that it has there."""
    if isinstance(value, dict):
        yield from _entries(value)
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (("", item) for item in _items(value))
    elif isinstance(value, partial):
        yield from (("", value.func), ("", value.args), ("", value.keywords))
    elif isinstance(value, MethodType):
        yield from (("", value.__self__), ("", value.__func__))
    elif isinstance(value, FunctionType):
        if not _is_of(_LIBRARIES, value):
            yield from _names_in_function(value)
    elif isinstance(value, ModuleType):
        yield from _attributes(value)
    elif not _is_of(_OPAQUE, type(value)):
        yield from _attributes(value)
        yield from _class_parts(value if isinstance(value, type) else type(value))


def _is_of(packages: Collection[str], definition: type | FunctionType) -> bool:
    """Whether a class or a function is defined in one of ``packages``."""
    return str(definition.__module__).partition(".")[0] in packages


def _names_in_function(function: FunctionType) -> Iterator[tuple[object, object]]:
    """Yield the variables of a function from outside: its closure, defaults and globals."""
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    yield from ((name, _content(cell)) for name, cell in cells)
    yield from (("", default) for default in function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).items()
    names = set(code.co_names).union(*_nested_names(code))
    yield from ((name, function.__globals__[name]) for name in names & function.__globals__.keys())
    yield "", getattr(function, "__wrapped__", None)


def _content(cell: CellType) -> object:
    try:
        content: object = cell.cell_contents
    except ValueError:  # The variable is not assigned yet.
        return None
    return content


def _nested_names(code: CodeType) -> Iterator[set[str]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield set(constant.co_names)
            yield from _nested_names(constant)


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes that an object has itself, none that a property computes."""
    if type(value).__module__.startswith(_DATA):
        return
    for name, item in _namespace(value).items():
        if not (name.startswith("__") and name.endswith("__")):
            yield name, item
    for name in _slots_of(type(value)):
        if hasattr(value, name):
            yield name, getattr(value, name)


def _slots_of(cls: type) -> tuple[str, ...]:
    """Return the names of the slots of a class and its bases, which do not change."""
    remembered = _slots.get(id(cls))
    if remembered is not None:
        return remembered[1]
    members = (item for owner in cls.__mro__ for item in vars(owner).copy().items())
    names = tuple(name for name, member in members if isinstance(member, MemberDescriptorType))
    if len(_slots) >= _MOST_CLASSES:
        _slots.clear()
    _slots[id(cls)] = cls, names
    return names


def _namespace(value: object) -> dict[str, object]:
    try:
        return dict(vars(value))
    except Exception:  # ruff: ignore[blind-except] - a proxy of the user may raise anything
        return {}


def _class_parts(owner: type) -> Iterator[tuple[str, object]]:
    """Yield the attributes and the functions of a class and its bases, except of libraries."""
    for base in owner.__mro__:
        if not _is_of(_LIBRARIES, base):
            for name, item in vars(base).copy().items():
                if not isinstance(item, MemberDescriptorType):
                    yield name, getattr(item, "__func__", item)

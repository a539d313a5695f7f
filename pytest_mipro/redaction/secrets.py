"""The secrets that a process knows, and their replacement in whatever is shown or stored."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_origin, get_type_hints
from urllib.parse import quote
from weakref import WeakKeyDictionary

from pytest_mipro.redaction import search, texts
from pytest_mipro.redaction.names import snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_LONG = 12
"""Characters from which a secret is replaced also inside a word."""


@lru_cache(maxsize=256)  # There are some dozens of records.
def _fields_with_texts(record_type: type) -> tuple[str, ...]:
    """Return the names of the fields of a record, but of those that hold one of a few words."""
    types = get_type_hints(record_type)
    return tuple(
        field.name for field in fields(record_type) if get_origin(types[field.name]) is not Literal
    )


class Secrets:
    """Secrets, which are added as they come up, and are never forgotten."""

    def __init__(self) -> None:
        """Start without a secret; the environment is read whenever a text is redacted."""
        self._lock = Lock()
        self._patterns: tuple[str, ...] = ()
        self._secrets: frozenset[str] = frozenset()
        self._replaced: tuple[str, ...] = ()
        self._environment: frozenset[tuple[str, str]] = frozenset()
        self._models: WeakKeyDictionary[object, tuple[int, ...]] = WeakKeyDictionary()

    def add_names(self, patterns: Iterable[str]) -> None:
        """Treat values as secrets, too, whose names match ``patterns``, such as ``*_pin``."""
        self._patterns += tuple(snake_case_pattern(pattern) for pattern in patterns)
        self._environment = frozenset()

    def add_url(self, url: str) -> None:
        """Add the secrets of a URL, which may be mistyped."""
        self._add(texts.secrets_in_url(url))

    def add_from(self, *objects: object) -> None:
        """Add the secrets that are in reach of ``objects``."""
        visit = search.SecretSearch(self._patterns)
        visit.visit(objects)
        self._add(visit.secrets)

    def add_from_model(self, model: object) -> None:
        """Add the secrets of a model that is about to be called; mostly, they are known."""
        if self._is_new(model):
            self._add(search.secrets_of_model(model, self._patterns))

    def _is_new(self, model: object) -> bool:
        """Whether ``model`` has parameters that it did not have at its last call."""
        attributes = getattr(model, "__dict__", {})
        parameters = attributes.get("kwargs")
        values = parameters.values() if isinstance(parameters, dict) else ()
        content = tuple(map(id, (*attributes.values(), *values)))
        try:
            is_new = self._models.get(model) != content
            self._models[model] = content
        except TypeError:  # A model of a user's own class may have no hash, or no weak reference.
            return True
        return is_new

    def redact(self, value: T) -> T:
        """Return a text, JSON data or a record with all secrets, and those of URLs, replaced."""
        self._add_environment()
        redacted: T = self._redacted(value)
        return redacted

    def redact_text(self, text: str) -> str:
        """Return a text of ours, such as a message, without secrets and what it calls one."""
        if not text:
            return text
        self._add_environment()
        return texts.without_credentials(self._replace(text, self._replaced), self._patterns)

    def redact_error(self, text: str, error: BaseException) -> str:
        """Return a text about ``error`` without secrets, also those of the code that raised it."""
        local = search.secrets_in_frames(error, self._patterns)
        return self.redact_text(self._replace(text, _ordered(local)))

    def _redacted(self, value: Any) -> Any:  # ruff: ignore[any-type] - of any type
        if isinstance(value, str):
            text = self._replace(value, self._replaced)
            return texts.without_url_secrets(text, self._patterns)
        if isinstance(value, dict):
            return {self._redacted(name): self._redacted(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self._redacted, value))
        if is_dataclass(value) and not isinstance(value, type):
            # A secret may be a word of ours, such as "test": the name of a field, or its value.
            names = _fields_with_texts(type(value))
            return replace(value, **{name: self._redacted(getattr(value, name)) for name in names})
        return value

    @staticmethod
    def _replace(text: str, secrets: Iterable[str]) -> str:
        for secret in secrets:
            if secret not in text:
                continue
            if len(secret) >= _LONG:
                text = text.replace(secret, texts.REPLACEMENT)
            else:
                word = rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])"
                text = re.sub(word, texts.REPLACEMENT, text)
        return text

    def _add_environment(self) -> None:
        """Add the secrets of the variables that were not looked at under the present names."""
        new = os.environ.items() - self._environment
        environment = search.SecretSearch(self._patterns)
        for name, value in new:
            environment.add(name, value)
            environment.visit([value])
        self._add(environment.secrets)
        self._environment |= new

    def _add(self, secrets: Iterable[str]) -> None:
        if self._secrets.issuperset(secrets):
            return
        with self._lock:
            self._secrets |= frozenset(secrets)
            self._replaced = _ordered(self._secrets)


def snake_case_pattern(pattern: str) -> str:
    """Return a pattern of names as ``snake_case`` returns names; ``*`` stands for any text."""
    return "*".join(map(snake_case, pattern.split("*")))


def _ordered(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the forms in which texts have ``secrets``, the longest first.

    A secret may be part of another one.
    """
    forms = {form for secret in secrets for form in _forms(secret)}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="", errors="replace")
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]


SECRETS = Secrets()
"""Those of this process: an environment and a key that was used once belong to all of it."""

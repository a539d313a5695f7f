"""The user's files as they were when Python imported them, as far as that is known.

The code of a function can be compared with its file. Nothing of a running process has the body of
a class, a decorator's arguments or an annotation, so that the file itself is held on to.
"""

from __future__ import annotations

import linecache
import sys
from importlib.machinery import ModuleSpec
from itertools import islice
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.ownership import is_users_module

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType


_texts: dict[int, tuple[ModuleSpec, str]] = {}
"""The texts, and the specs of their modules by whose ids they are kept: an import has its own."""


_remembered: set[int] = set()
"""The ids of the specs of which ``remember_files`` has remembered the texts."""
_FIRST_PART = 32
"""The modules that are looked at first, of thousands."""


def remember_files() -> None:
    """Remember the texts of the user's files that have been imported since the last call."""
    for module in _new_modules():
        spec = _spec_of(module)
        if spec is not None:
            _remembered.add(id(spec))
            if id(spec) not in _texts:
                text = text_of(vars(module))[1] if is_users_module(module) else ""
                _texts[id(spec)] = spec, text


def _new_modules() -> list[ModuleType]:
    """Return the modules behind the last one that was seen: where imports and reloads put them."""
    count = _FIRST_PART
    while True:
        # The list is made at once, as another thread may import something.
        last = [*islice(reversed(sys.modules.values()), count)]
        for number, module in enumerate(last):
            spec = _spec_of(module)
            if spec is not None and id(spec) in _remembered:
                return last[:number]
        if len(last) < count:
            return last
        count *= 8


def _spec_of(module: ModuleType) -> ModuleSpec | None:
    spec = getattr(module, "__spec__", None)
    return spec if isinstance(spec, ModuleSpec) else None


def text_at_import(namespace: Mapping[str, object], text: str) -> str:
    """Return the text that a module's file had; the present ``text`` if it is read only now."""
    spec = namespace.get("__spec__")
    if not isinstance(spec, ModuleSpec):
        return text
    return _texts.setdefault(id(spec), (spec, text))[1] or text


def text_of(namespace: Mapping[str, object], file: str = "") -> tuple[str, str]:
    """Return the path and the text of a module's file; nothing if it cannot be read.

    Args:
        namespace: The module's globals.
        file: Another file that has code of the module.
    """
    path = file or str(namespace.get("__file__") or "")
    linecache.checkcache(path)
    lines = linecache.getlines(path, dict(namespace))
    return path if lines else "", "".join(lines)

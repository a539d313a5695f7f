"""The user's files as they were when Python imported them, as far as that is known.

The code of a function can be compared with its file. Nothing of a running process has the body of
a class, a decorator's arguments or an annotation, so that the file itself is held on to.
"""

from __future__ import annotations

import linecache
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

from pytest_mipro.fingerprint.ownership import is_users_module

if TYPE_CHECKING:
    from collections.abc import Mapping


_texts: dict[int, tuple[ModuleSpec, str]] = {}
"""The texts, and the specs of their modules by whose ids they are kept: an import has its own."""


def remember_files() -> None:
    """Remember the texts of the user's files that have been imported since the last call."""
    for module in sys.modules.copy().values():  # Other threads may import something.
        spec = getattr(module, "__spec__", None)
        if isinstance(spec, ModuleSpec) and id(spec) not in _texts:
            text = text_of(vars(module))[1] if is_users_module(module) else ""
            _texts[id(spec)] = spec, text


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

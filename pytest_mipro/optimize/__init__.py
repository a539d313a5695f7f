"""The optimizer that compiles a program.

``mipro/`` is our MIPROv2: it bootstraps demos, proposes instructions and
searches both. It also bounds the LM calls of a compile before the first one.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

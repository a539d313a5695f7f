"""
What compiles a program.

``mipro/`` is our MIPROv2: bootstrap demos, propose instructions, search both.
It bounds what a compile asks before it asks anything.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The optimizers that compile a program, by name, and the bounds of their LM calls.

``mipro/`` is our MIPROv2: it bootstraps demos, proposes instructions and searches both. The
other optimizers are DSPy's: ``teleprompter`` runs them, ``guard`` watches their calls.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The language model of a task: resolved from its name, a DSPy LM, or the embedded model.

``resolution`` turns a declared model into a DSPy LM and an adapter. ``local/`` runs the
embedded model and renders prompts that a model this small can follow.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

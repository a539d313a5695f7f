"""One task from its declaration to its outcome: compile, score, compare with the reference.

``Session`` keeps the order. ``Outcome`` is what a test gets. ``Policy`` and ``Callbacks`` are
what the plugin passes in.

The public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

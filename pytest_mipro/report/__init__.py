"""
What people read: one summary of a session and one renderer for each output.

``summary`` computes; the renderers return text. Model output is hostile text wherever it
is shown, so each renderer escapes it for its format.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

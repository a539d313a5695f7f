"""
The accepted files beside a test: where they are, what is in them, and how they change.

Only ``--mipro-update`` writes them. They are sorted and indented JSON, made to be reviewed.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

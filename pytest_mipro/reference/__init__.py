"""The accepted files beside a test: their location, their content, and its changes.

Only ``--mipro-update`` writes them. They are sorted and indented JSON, so that a diff can be
reviewed.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

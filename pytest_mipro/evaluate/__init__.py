"""Run programs on examples in parallel, score each pair once, and store its row before it is used.

A provider's error is retried, and then stops the run: it is never a score. An exception of the
program is a failed row.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The statistics and the rules of a verdict.

Pure functions from scores to a comparison and from a comparison to PASS, FAIL or
INCONCLUSIVE, with the sentence a reviewer reads. Nothing here knows DSPy or pytest.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The fingerprint of a task by content, and the keys under which results are stored.

Programs, metrics, models and data are described as JSON and digested; nothing is run.
The parts of two fingerprints say in words what changed.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

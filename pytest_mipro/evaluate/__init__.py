"""
A program on examples: in parallel, each row once, stored before it is used.

Provider errors are retried and then stop the run; an error of the program is a failed row.
An error is never a score.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

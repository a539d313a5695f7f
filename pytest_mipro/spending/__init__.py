"""Count language model calls and limit their cost.

A meter counts the calls of one row. An account adds up the calls of a task or a session, across
processes, and raises ``BudgetExceeded`` when a row would begin after a limit.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

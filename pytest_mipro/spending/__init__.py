"""
What calls to language models cost: meters that count it and accounts that limit it.

A meter counts the calls of one piece of work. An account adds up what a task or a session
has spent, across processes, and raises ``BudgetExceeded`` before a limit is passed.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

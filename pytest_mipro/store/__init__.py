"""The database of everything that was paid for: rows, traces, proposals, artifacts, responses.

It also has the looks at held-out examples and the streaks of FAILs. One class, ``Store``, on
SQLite or PostgreSQL through SQLAlchemy. Records are JSON with a checksum, written once; a lock
keeps two processes from compiling the same task.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

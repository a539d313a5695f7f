"""The frozen records that pass between rooms, into the store and through xdist.

A record equals ``from_dict`` of its ``to_dict``. The same dictionary goes to
disk, to an xdist controller and into the reports.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

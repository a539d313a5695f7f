"""Everything that the package takes from DSPy without DSPy promising it.

A release of DSPy may change any of it, so no other room has such a name, and
``tests/contracts/test_dspy_assumptions.py`` has a test for each. A function here says what the
package needs; how DSPy has it stays inside.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""
What a test declares: the task, its dataset with three splits, its options and its budget.

Everything is checked when it is made, so the other rooms never meet a wrong declaration.
Nothing here asks a language model or knows pytest.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

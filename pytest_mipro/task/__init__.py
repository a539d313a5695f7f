"""The declaration of a test: the task, its dataset with three splits, its options and its budget.

All values are checked here, so the other rooms get no wrong declaration.
Nothing here calls a language model or imports pytest.

Its public names are in ``__init__.pyi`` and are loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

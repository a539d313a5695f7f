"""Compile DSPy prompts in pytest, judge them on held-out data, gate the merge.

The public names are in ``__init__.pyi`` and are loaded on first use, so that
importing this package, which pytest does in every session once the plugin is
installed, loads neither DSPy nor Optuna.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

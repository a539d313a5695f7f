"""
Compile DSPy prompts in pytest, judge them on held-out data, gate the merge.

Names are resolved on first use, so that importing this package (which pytest
does in every session once the plugin is installed) loads neither DSPy nor
Optuna.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_mipro.task.budget import Budget
    from pytest_mipro.task.dataset import Dataset
    from pytest_mipro.errors import BudgetExceeded, DatasetError, DeclarationError, FingerprintError, InfrastructureError, LocalModelMissing, MetricError, MiproError, ModelError, ReferenceFileError, StoreError
    from pytest_mipro.models.local.line_adapter import LineAdapter
    from pytest_mipro.optimize.mipro.optimizer import MIPROv2
    from pytest_mipro.session.outcome import Outcome
    from pytest_mipro.plugin.declaration import mipro_optimize
    from pytest_mipro.plugin.warnings import MiproWarning

__version__ = "0.1.0"

_HOMES = {
    "Budget": "budget",
    "BudgetExceeded": "errors",
    "Dataset": "dataset",
    "DatasetError": "errors",
    "DeclarationError": "errors",
    "FingerprintError": "errors",
    "InfrastructureError": "errors",
    "LineAdapter": "models.line_adapter",
    "LocalModelMissing": "errors",
    "MIPROv2": "optimize.mipro",
    "MetricError": "errors",
    "MiproError": "errors",
    "MiproWarning": "plugin.doubt",
    "ModelError": "errors",
    "Outcome": "outcome",
    "ReferenceFileError": "errors",
    "StoreError": "errors",
    "mipro_optimize": "plugin.declare",
}

__all__ = [
    "Budget",
    "BudgetExceeded",
    "Dataset",
    "DatasetError",
    "DeclarationError",
    "FingerprintError",
    "InfrastructureError",
    "LineAdapter",
    "LocalModelMissing",
    "MIPROv2",
    "MetricError",
    "MiproError",
    "MiproWarning",
    "ModelError",
    "Outcome",
    "ReferenceFileError",
    "StoreError",
    "__version__",
    "mipro_optimize",
]


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names without loading them."""
    return sorted(__all__)

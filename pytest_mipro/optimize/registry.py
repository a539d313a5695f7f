"""The optimizers that have a name, and the optimizer that a task declares.

A new one is a file with a function that takes an ``OptimizerChoice`` and returns an
``Optimizer``, and a line here.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING

from dspy import BootstrapFinetune, Ensemble, KNNFewShot

from pytest_mipro.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_mipro.optimize.optimizer import Optimizer
    from pytest_mipro.task import OptimizerChoice

OPTIMIZERS = {
    "mipro": "mipro.declared",
    "bootstrap": "bootstrap",
    "random_search": "random_search",
    "labeled": "labeled",
    "knn": "knn",
    "copro": "copro",
    "simba": "simba",
    "gepa": "gepa",
    "ensemble": "ensemble",
}
"""The module of each named optimizer, whose ``optimizer`` makes it; loaded on first use."""

_REFUSED = {
    BootstrapFinetune: "changes a model's weights, which an artifact of prompts cannot hold",
    Ensemble: "combines programs instead of compiling one; use optimizer='ensemble'",
    KNNFewShot: "replaces the program's forward; use optimizer='knn'",
}


def optimizer_of(choice: OptimizerChoice) -> Optimizer:
    """Return the optimizer that a task declares.

    Raises:
        DeclarationError: There is none of that name or with these options, or its result
            cannot be stored.
    """
    declared = _declared(choice)
    if choice.hook is None:
        return declared
    from pytest_mipro.optimize.hooked import HookedOptimizer

    return HookedOptimizer(choice.hook, declared)


def _declared(choice: OptimizerChoice) -> Optimizer:
    spec = choice.spec
    if not isinstance(spec, str):
        _refuse_unstorable(choice)
        from pytest_mipro.optimize.teleprompter import TeleprompterOptimizer

        return TeleprompterOptimizer(choice, spec)
    if spec not in OPTIMIZERS:
        near = difflib.get_close_matches(spec, OPTIMIZERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(OPTIMIZERS)}"
        message = f"optimizer={spec!r:.80} is no optimizer; {hint}"
        raise DeclarationError(message)
    optimizer: Optimizer = import_module(f"pytest_mipro.optimize.{OPTIMIZERS[spec]}").optimizer(
        choice
    )
    return optimizer


def _refuse_unstorable(choice: OptimizerChoice) -> None:
    cls = choice.spec if isinstance(choice.spec, type) else type(choice.spec)
    for refused, reason in _REFUSED.items():
        if issubclass(cls, refused):
            message = f"optimizer={choice.name} {reason}"
            raise DeclarationError(message)

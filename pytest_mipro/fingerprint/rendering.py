"""The digest of the prompts that an adapter renders of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest, plain
from pytest_mipro.dspy_internals import rendering_adapter
from pytest_mipro.fingerprint.programs import signature_of

if TYPE_CHECKING:
    import dspy


def adapter_name(adapter: dspy.Adapter | None) -> str:
    """Return the name of the class that renders the prompts of a task with ``adapter``."""
    return type(rendering_adapter(adapter)).__name__


def rendering_key(program: dspy.Module, adapter: dspy.Adapter | None) -> str:
    """Return the digest of the prompts of all predictors, with empty inputs.

    Two versions of DSPy, or two adapters, with one digest render the same texts. It is empty where
    an adapter does not render a prompt without a model or without inputs.
    """
    renders = rendering_adapter(adapter)
    try:
        prompts = [
            [name, plain(_prompt(renders, predictor), fallback=str)]
            for name, predictor in program.named_predictors()
        ]
    except Exception:  # ruff: ignore[blind-except] - an adapter of the user may raise anything
        return ""
    return digest(prompts)


def _prompt(adapter: dspy.Adapter, predictor: dspy.Predict) -> object:
    signature = signature_of(predictor)
    inputs = dict.fromkeys(signature.input_fields, "")
    prompt: object = adapter.format(signature, [*predictor.demos], inputs)
    return prompt

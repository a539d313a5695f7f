from __future__ import annotations

from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import dspy
import pytest
from scripted import ScriptedEngine, scripted_lm

from pytest_mipro.evaluate.called_model import CalledModels


def start(models: CalledModels, instance: object) -> None:
    """Report the beginning of a call, as DSPy does."""
    models.on_lm_start(call_id="c", instance=instance, inputs={})


def end(models: CalledModels) -> None:
    """Report its end."""
    models.on_lm_end(call_id="c", outputs=None)


def test_the_called_model_is_that_of_the_innermost_call() -> None:
    """After a call within a call, the outer one goes on."""
    models, outer, inner = CalledModels(), scripted_lm(), scripted_lm()
    assert models.current is None
    start(models, outer)
    start(models, inner)
    assert models.current is inner
    end(models)
    assert models.current is outer
    end(models)
    assert models.current is None


def test_calls_of_other_contexts_are_apart() -> None:
    """A call in another context does not count here."""
    models = CalledModels()
    copy_context().run(start, models, scripted_lm())
    assert models.current is None


def test_what_is_no_model_does_not_count() -> None:
    """DSPy reports calls of decision models, too."""
    models = CalledModels()
    start(models, object())
    assert models.current is None
    end(models)


@pytest.mark.parametrize(
    "values",
    [{"api_base": "http://two/v1"}, {"engine": ScriptedEngine(base=31)}, {"model": "openai/n"}],
    ids=lambda values: next(iter(values)),
)
def test_models_that_answer_differently_have_other_digests(values: dict[str, Any]) -> None:
    """The endpoint, the engine and the name count; an equal model has an equal digest."""
    models = CalledModels()
    usual: dict[str, Any] = {"model": "openai/m"}
    if "engine" not in values:
        usual["api_base"] = "http://one/v1"
    else:
        usual["engine"] = ScriptedEngine(base=30)
    digests = [models.digest_of(dspy.LM(**usual)) for _ in range(2)]
    assert digests[0] == digests[1] != models.digest_of(dspy.LM(**{**usual, **values}))


@dataclass
class Unhashable(dspy.BaseLM):
    """A model without a hash, which is compared by value."""

    model: str = "m"

    def __post_init__(self) -> None:
        super().__init__(self.model)


def test_a_model_without_a_hash() -> None:
    """It has a digest, too."""
    assert CalledModels().digest_of(Unhashable())

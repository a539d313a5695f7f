from __future__ import annotations

import gc
import weakref
from contextlib import suppress
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback, with_callbacks
from dspy.utils.dummies import DummyLM

from pytest_mipro.dspy_internals import ModelCallbacks, with_model_callbacks


class Log(BaseCallback):
    """Lists what it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.calls.append(f"module {type(instance).__name__}")

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.calls.append("adapter")

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.calls.append(f"model {inputs['kwargs']}")

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self.calls.append(f"end {type(exception).__name__}")


class Failing:
    """An engine that cannot be asked."""

    def complete(self, request: dspy.lm15.Request) -> dspy.lm15.Response:
        """Raise an error."""
        raise dspy.LMTransportError(model=request.model)


def ask(lm: dspy.BaseLM | None = None, **settings: Any) -> None:
    """Call a predictor once."""
    with dspy.context(lm=lm or DummyLM([{"answer": "4"}]), **settings):
        dspy.Predict("question -> answer")(question="2 + 2", config={"n": 1})


def test_only_the_calls_of_models_are_seen() -> None:
    """With their arguments and their end, and no call of a module or an adapter."""
    log = Log()
    ask(callbacks=with_model_callbacks(log))
    assert log.calls == ["model {'n': 1}", "end NoneType"]


def test_the_error_of_a_model_is_seen() -> None:
    """Also if the program swallows it."""
    log = Log()
    lm = dspy.LM("failing", engine=Failing(), cache=False, num_retries=0)
    with suppress(dspy.LMError):
        ask(lm, callbacks=with_model_callbacks(log))
    assert log.calls == ["model {'n': 1}", "end LMTransportError"]


def test_other_callbacks_see_all_calls() -> None:
    """Those of the settings before, and those of a model itself."""
    own, users, log = Log(), Log(), Log()
    lm = DummyLM([{"answer": "4"}])
    lm.callbacks = [own]
    with dspy.context(callbacks=[users]):
        ask(lm, callbacks=with_model_callbacks(log))
    assert users.calls == ["module Predict", "adapter", *log.calls]
    assert own.calls == log.calls


def test_further_callbacks_of_models_are_added() -> None:
    """Within a block with such callbacks, and without a change of the block's."""
    outer, inner = Log(), Log()
    with dspy.context(callbacks=with_model_callbacks(outer)):
        ask(callbacks=with_model_callbacks(inner))
        assert inner.calls == outer.calls != []
        ask()
    assert len(outer.calls) == 2 * len(inner.calls) == 4


def test_elsewhere_the_list_has_all_callbacks() -> None:
    """A copy of it hides no call, and neither does a function that looks like DSPy's."""
    users, log = Log(), Log()
    callbacks = ModelCallbacks([users], [log])

    def _get_active_callbacks(instance: dspy.Module) -> list[BaseCallback]:
        return callbacks + list(instance.callbacks)

    assert [*callbacks] == list(callbacks) == callbacks.copy() == [users, log]
    assert _get_active_callbacks(dspy.Predict("question -> answer")) == [users, log]
    ask(callbacks=[*callbacks])
    assert users.calls == log.calls == ["module Predict", "adapter", *log.calls[2:]]


def test_an_object_that_may_be_a_model_counts_as_one() -> None:
    """Of a module and of an adapter it is known that they are none, and of nothing else."""

    class Client:
        supports_decision_requests = True

        @with_callbacks  # type: ignore[untyped-decorator]  # DSPy's
        def __call__(self, **kwargs: str) -> None:
            pass

    log = Log()
    with dspy.context(callbacks=with_model_callbacks(log)):
        Client()(state="")
    assert log.calls == ["model {'state': ''}", "end NoneType"]


class Constant(dspy.Module):
    """Calls no model."""

    def forward(self) -> dspy.Prediction:
        """Answer."""
        return dspy.Prediction(answer="4")


def test_a_call_leaves_nothing_to_the_garbage_collector() -> None:
    """The called object is gone with its last user."""
    program: Any = Constant()
    gone = weakref.ref(program)
    gc.disable()
    try:
        with dspy.context(callbacks=with_model_callbacks(Log())):
            program()
        del program
        assert gone() is None
    finally:
        gc.enable()

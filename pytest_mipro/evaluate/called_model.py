"""Which language model a call in the present context asks, described by content."""

from __future__ import annotations

from contextvars import ContextVar
from threading import Lock
from typing import Any
from weakref import ReferenceType, ref

import dspy
from dspy.utils.callback import BaseCallback

from pytest_mipro.canonical import digest
from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import describe_model

_CALLED: ContextVar[tuple[object, ...]] = ContextVar("mipro_called_models", default=())
"""The model that is called, the last; before it those whose calls have led to its call."""


class CalledModels(BaseCallback):
    """Knows the model of a call; DSPy calls it at the beginning and the end of each call."""

    def __init__(self) -> None:
        super().__init__()
        # Python 3.11 cannot parse in two threads at the same time (CPython issue 106905).
        self._lock = Lock()
        self._digests: dict[int, tuple[ReferenceType[dspy.BaseLM], str | None]] = {}

    @property
    def current(self) -> dspy.BaseLM | None:
        """The model that is called in this context, if one is."""
        callee = _CALLED.get()[-1:]
        return callee[0] if callee and isinstance(callee[0], dspy.BaseLM) else None

    def add(self, model: dspy.BaseLM, description: str | None) -> None:
        """Add a model whose digest another process has computed."""
        self._digests[id(model)] = ref(model), description

    def digest_of(self, model: dspy.BaseLM) -> str | None:
        """Return the digest of a model's description; None if it cannot be described."""
        with self._lock:
            reference, description = self._digests.get(id(model), (None, None))
            # A later object may have the identity of an earlier one.
            if reference is None or reference() is not model:
                description = _described(model)
                self.add(model, description)
        return description

    def on_lm_start(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        instance: object,
        inputs: dict[str, Any],  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
    ) -> None:
        """Remember the model that is called."""
        _CALLED.set((*_CALLED.get(), instance))

    def on_lm_end(
        self,
        call_id: str,  # ruff: ignore[unused-method-argument]  # DSPy passes it by name
        outputs: Any,  # ruff: ignore[any-type, unused-method-argument]  # the base class's
        exception: BaseException | None = None,  # ruff: ignore[unused-method-argument]  # the same
    ) -> None:
        """Forget it."""
        _CALLED.set(_CALLED.get()[:-1])


def _described(model: dspy.BaseLM) -> str | None:
    try:
        return digest(describe_model(model))
    except FingerprintError:
        return None

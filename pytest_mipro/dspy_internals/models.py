"""What DSPy's language models are made of: engines, parameters of the client, attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dspy.clients.backend_selection import CLIENT_KEYS

if TYPE_CHECKING:
    import dspy

CLIENT_PARAMETERS = frozenset(CLIENT_KEYS)
"""Parameters of a model that say how to reach it, and are no sampling parameters."""
MODEL_STATE = frozenset(
    {
        *("cache", "callbacks", "history", "num_retries", "kwargs", "model", "model_type"),
        *("finetuning_model", "launch_kwargs", "provider", "train_kwargs"),
        *("_async_engine_spec", "_cache_responses", "_engine_lock", "_engine_spec"),
        *("_engine_store", "_warned_zero_temp_rollout"),
    }
)
"""Attributes of DSPy's models that are not sampling parameters of a user's own class."""


def engines_of(lm: dspy.BaseLM) -> tuple[object, object]:
    """Return a model's engine and asynchronous engine: objects, or how DSPy selects one."""
    return getattr(lm, "_engine_spec", None), getattr(lm, "_async_engine_spec", None)


def is_served(lm: dspy.BaseLM) -> bool:
    """Whether DSPy selects the engine, which asks a server over a network."""
    return isinstance(engines_of(lm)[0], str)


def custom_engine(lm: dspy.BaseLM) -> object:
    """Return the engine object that a model was made with; None if DSPy selects one."""
    engine, _ = engines_of(lm)
    return None if isinstance(engine, str) else engine

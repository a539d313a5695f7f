"""Descriptions of language models and adapters by content, without credentials."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import dspy

from pytest_mipro.dspy_internals import (
    CLIENT_PARAMETERS,
    MODEL_STATE,
    engines_of,
    is_served,
)
from pytest_mipro.fingerprint.memory import memory_of
from pytest_mipro.fingerprint.parameters import describe_endpoint, describe_parameters
from pytest_mipro.fingerprint.source import path_of
from pytest_mipro.fingerprint.values import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.code_walker import CodeWalker, Describe

_DECISIVE = {"api_version", "custom_llm_provider", "extra_headers", "extra_query", "headers"}
_CONNECTION = (CLIENT_PARAMETERS - _DECISIVE) | {"prompt_cache"}
"""Parameters that say how to reach the model; of these only the endpoint decides an answer."""
_CALLS_OF_MODELS = frozenset(
    {"__call__", "acall", "aforward", "complete", "acomplete", "astream", "forward", "stream"}
)
"""The methods of a model or an engine that DSPy calls for an answer."""
_CALLS_OF_ADAPTERS = frozenset(name for name in vars(dspy.Adapter) if name != "__init__")


def _describe_lm(lm: dspy.BaseLM, walker: CodeWalker, label: str) -> JSON:
    sampling = {name: value for name, value in lm.kwargs.items() if name not in _CONNECTION}
    engine, async_engine = (_describe_engine(engine, walker, label) for engine in engines_of(lm))
    return {
        "class": path_of(type(lm)),
        "model": lm.model,
        "type": lm.model_type,
        "endpoint": _endpoint_of(lm),
        "engine": engine,
        "async engine": async_engine,
        "sampling": describe_parameters(sampling, walker, label),
        "state": describe_parameters(_state_of_model(lm), walker, label),
    }


def _state_of_model(lm: dspy.BaseLM) -> Mapping[str, object]:
    if type(lm).dump_state not in {dspy.BaseLM.dump_state, dspy.LM.dump_state}:
        return lm.dump_state()
    ignored = MODEL_STATE | memory_of(type(lm), _CALLS_OF_MODELS)
    return {name: value for name, value in state_of(lm).items() if name not in ignored}


def _describe_engine(engine: object, walker: CodeWalker, label: str) -> JSON:
    if isinstance(engine, str | None):
        return engine
    walker.follow(type(engine))
    dump = getattr(engine, "dump_state", None)
    memory = memory_of(type(engine), _CALLS_OF_MODELS)
    attributes = {name: value for name, value in state_of(engine).items() if name not in memory}
    state = dump() if callable(dump) else attributes
    return {
        "class": path_of(type(engine)),
        "state": describe_parameters(state, walker, f"engine of the {label}"),
    }


def _describe_adapter(adapter: dspy.Adapter, walker: CodeWalker, label: str) -> JSON:
    ignored = {"callbacks", *memory_of(type(adapter), _CALLS_OF_ADAPTERS)}
    attributes = {
        name: walker.describe(value, f"{name} of the {label}")
        for name, value in sorted(state_of(adapter).items())
        if name not in ignored
    }
    return {"class": path_of(type(adapter)), "attributes": attributes}


def _endpoint_of(lm: dspy.BaseLM) -> str | None:
    url = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    if url:
        return describe_endpoint(str(url))
    if not is_served(lm):
        return None
    # The variables that DSPy and LiteLLM read, in their order.
    provider = lm.model.partition("/")[0].upper()
    urls = (os.environ.get(f"{provider}_{suffix}") for suffix in ("BASE_URL", "API_BASE"))
    return next((describe_endpoint(url) for url in urls if url), None)


DESCRIBERS: Mapping[type, Describe] = {
    dspy.BaseLM: _describe_lm,
    dspy.Adapter: _describe_adapter,
}
"""The function that describes values of a type."""

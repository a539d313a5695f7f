"""Descriptions of language models and adapters by content, without credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from pytest_mipro.fingerprint.source import path_of
from pytest_mipro.redaction import is_secret, snake_case

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.code_walker import CodeWalker, Describe

_CONNECTION = CLIENT_KEYS - {"custom_llm_provider", "api_version"}
"""Parameters of the connection; of these only the endpoint can change a prediction."""
_URL = re.compile(r"(^|_)(base|url|uri|endpoint|proxy)$")


def _describe_lm(lm: dspy.BaseLM, walker: CodeWalker, label: str) -> JSON:
    sampling = {name: value for name, value in lm.kwargs.items() if name not in _CONNECTION}
    description: dict[str, JSON] = {
        "class": path_of(type(lm)),
        "model": lm.model,
        "type": lm.model_type,
        "endpoint": _endpoint_of(lm),
        "engine": _describe_engine(getattr(lm, "_engine_spec", None), walker, label),
        "sampling": {
            name: walker.describe(value, f"{name} of the {label}")
            for name, value in _without_secrets(sampling).items()
        },
    }
    if type(lm).dump_state not in {dspy.BaseLM.dump_state, dspy.LM.dump_state}:
        state = _without_secrets(lm.dump_state())
        description["state"] = walker.describe(state, f"state of the {label}")
    return description


def _describe_engine(engine: object, walker: CodeWalker, label: str) -> JSON:
    if isinstance(engine, str | None):
        return engine
    walker.follow(type(engine))
    dump = getattr(engine, "dump_state", None)
    state = _without_secrets(dump()) if callable(dump) else None
    return {
        "class": path_of(type(engine)),
        "state": walker.describe(state, f"engine of the {label}"),
    }


def _describe_adapter(adapter: dspy.Adapter, walker: CodeWalker, label: str) -> JSON:
    attributes = {
        name: walker.describe(value, f"{name} of the {label}")
        for name, value in sorted(vars(adapter).items())
        if not name.startswith("_") and name != "callbacks"
    }
    return {"class": path_of(type(adapter)), "attributes": attributes}


def _without_secrets(value: Any) -> Any:  # ruff: ignore[any-type]  # a parameter has any type
    """Return ``value`` without credentials, at any depth, and with the names in order."""
    if isinstance(value, Mapping):
        items = sorted((str(name), item) for name, item in value.items() if not is_secret(name))
        return {
            name: _endpoint(item) if _is_url(name, item) else _without_secrets(item)
            for name, item in items
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return value


def _is_url(name: object, value: object) -> bool:
    return isinstance(value, str) and bool(_URL.search(snake_case(name)))


def _endpoint_of(lm: dspy.BaseLM) -> str | None:
    url = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    if url:
        return _endpoint(str(url))
    if not isinstance(getattr(lm, "_engine_spec", None), str):
        return None
    # The variables that DSPy and LiteLLM read, in their order.
    provider = lm.model.partition("/")[0].upper()
    names = (f"{provider}_BASE_URL", f"{provider}_API_BASE")
    return next((_endpoint(os.environ[name]) for name in names if os.environ.get(name)), None)


def _endpoint(url: str) -> str:
    """Return scheme, host and path of a URL, also of a malformed one."""
    address = re.split(r"[?#]", url, maxsplit=1)[0]
    scheme, separator, host_and_path = address.rpartition("://")
    host, slash, path = host_and_path.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


DESCRIBERS: Mapping[type, Describe] = {
    dspy.BaseLM: _describe_lm,
    dspy.Adapter: _describe_adapter,
}
"""The function that describes values of a type."""

"""What a language model or an adapter is by content; never a credential."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from pytest_mipro.fingerprint.values import content, path_of
from pytest_mipro.redaction import is_secret, snake_case

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.values import Describer

_CONNECTION = CLIENT_KEYS - {"custom_llm_provider", "api_version"}
"""How the provider is reached; of this only the endpoint decides what is answered."""
_ADDRESS = re.compile(r"(^|_)(base|url|uri|endpoint|proxy)$")


@content.register(dspy.BaseLM)
def _of_lm(lm: dspy.BaseLM, inside: Describer, label: str) -> JSON:
    sampling = {name: value for name, value in lm.kwargs.items() if name not in _CONNECTION}
    described: dict[str, JSON] = {
        "class": path_of(type(lm)),
        "model": lm.model,
        "type": lm.model_type,
        "endpoint": _endpoint_of(lm),
        "engine": _engine(getattr(lm, "_engine_spec", None), inside, label),
        "sampling": {
            name: inside.describe(value, f"{name} of the {label}")
            for name, value in _public(sampling).items()
        },
    }
    if type(lm).dump_state not in {dspy.BaseLM.dump_state, dspy.LM.dump_state}:
        described["state"] = inside.describe(_public(lm.dump_state()), f"state of the {label}")
    return described


def _engine(engine: object, inside: Describer, label: str) -> JSON:
    if isinstance(engine, str | None):
        return engine
    inside.follow(type(engine))
    dump = getattr(engine, "dump_state", None)
    state = _public(dump()) if callable(dump) else None
    described = inside.describe(state, f"engine of the {label}")
    return {"class": path_of(type(engine)), "state": described}


@content.register(dspy.Adapter)
def _of_adapter(adapter: dspy.Adapter, inside: Describer, label: str) -> JSON:
    public = {
        name: inside.describe(value, f"{name} of the {label}")
        for name, value in sorted(vars(adapter).items())
        if not name.startswith("_") and name != "callbacks"
    }
    return {"class": path_of(type(adapter)), "attributes": public}


def _public(value: Any) -> Any:  # ruff: ignore[any-type]  # parameters can be anything
    """Return ``value`` without secrets, at any depth, and with mappings in order."""
    if isinstance(value, Mapping):
        shown = sorted((str(name), item) for name, item in value.items() if not is_secret(name))
        return {
            name: _endpoint(item) if _is_address(name, item) else _public(item)
            for name, item in shown
        }
    if isinstance(value, list | tuple):
        return [_public(item) for item in value]
    return value


def _is_address(name: object, value: object) -> bool:
    return isinstance(value, str) and bool(_ADDRESS.search(snake_case(name)))


def _endpoint_of(lm: dspy.BaseLM) -> str | None:
    own = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    if own:
        return _endpoint(str(own))
    if not isinstance(getattr(lm, "_engine_spec", None), str):
        return None
    # What DSPy and LiteLLM fall back on, in their order.
    provider = lm.model.partition("/")[0].upper()
    names = (f"{provider}_BASE_URL", f"{provider}_API_BASE")
    return next((_endpoint(os.environ[name]) for name in names if os.environ.get(name)), None)


def _endpoint(url: str) -> str:
    """Return scheme, host and path of an address, also of one that is no URL."""
    address = re.split(r"[?#]", url, maxsplit=1)[0]
    scheme, separator, rest = address.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"

"""The proxies that the environment names, looked for quickly.

At each call DSPy's client decodes all environment variables twice to find those that name a
proxy, which is a sixteenth of the processor time of a call where nearly always there is none. No
setting of an LM turns this off. So this module replaces, while a block runs, the function in the
module of DSPy that resolves proxies; a variable that is set meanwhile counts, as without it.
"""

from __future__ import annotations

import os
from urllib import request

from dspy._vendor.lm15.transports import _proxy  # ruff: ignore[import-private-name] - not public

from pytest_mipro.dspy_internals.replacement import Replacement

_IN_ENVIRONMENT_ONLY = (
    os.supports_bytes_environ and request.getproxies is request.getproxies_environment
)
"""Whether proxies are set nowhere else, as they are on Windows and macOS."""


def proxies() -> dict[str, str]:
    """Return the proxies, as ``urllib.request.getproxies`` does."""
    if _IN_ENVIRONMENT_ONLY and b"_proxy" not in b" ".join(os.environb).lower():
        return {}
    return request.getproxies()


QUICK_PROXIES = Replacement((_proxy,), "getproxies", request.getproxies, proxies)
"""Lets DSPy find at once, in all threads, that there is no proxy, while a block runs."""

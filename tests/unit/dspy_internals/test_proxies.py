from __future__ import annotations

import os
from urllib import request

import pytest
from dspy._vendor.lm15.transports._proxy import parse_url, proxy_route_for

from pytest_mipro.dspy_internals import proxies as module
from pytest_mipro.dspy_internals import quick_calls


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name no proxy."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "Http_Proxy", "all_proxy"])
def test_a_proxy_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Also one that is set while the block runs, and only until it is unset."""
    target = parse_url("http://model.example/v1")
    with quick_calls():
        assert proxy_route_for(target, proxy=None, trust_env=True) is None
        monkeypatch.setenv(name, "http://proxy.example:3128")
        assert module.proxies() == request.getproxies()
        route = proxy_route_for(target, proxy=None, trust_env=True)
        assert route is not None
        assert (route.host, route.port) == ("proxy.example", 3128)
        monkeypatch.delenv(name)
        assert proxy_route_for(target, proxy=None, trust_env=True) is None


@pytest.mark.usefixtures("no_proxies")
def test_no_variable_is_decoded_where_none_names_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are proxies looked for elsewhere, where they are set nowhere else."""

    def refuse() -> dict[str, str]:
        pytest.fail("the function of the standard library was called")

    monkeypatch.setattr(request, "getproxies", refuse)
    assert module.proxies() == {}


def test_the_system_is_asked_where_it_has_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows and macOS."""
    monkeypatch.setattr(module, "_IN_ENVIRONMENT_ONLY", False)
    monkeypatch.setattr(request, "getproxies", lambda: {"http": "http://of-the-system"})
    assert module.proxies() == {"http": "http://of-the-system"}

"""What all tests have in common."""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from forks import ForkServer, serving
from hypothesis import settings
from memory_disk import memory_disk
from workers import forked_workers

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from database_server import Server
    from execnet.xspec import XSpec

MARKERS = frozenset({"postgresql", "uses"})
"""The markers that environments of tox select by; they stand in the modules of their tests."""

FORK_SERVER = "MIPRO_TEST_FORK_SERVER"
"""The variable with the address of the server that the workers of pytest-xdist share."""

# Tests that draw at random by themselves draw as much more or less: they ask for the profile's
# number of examples.
settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=bool(os.environ.get("CI"))
)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.register_profile("exhaustive", max_examples=10_000, deadline=None)
settings.load_profile("quick")


def pytest_configure() -> None:
    """Prepare the environment of the tests and of the runs inside of them."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)  # Or the runs would talk to the CI that the tests run in.
    if folder := memory_disk():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))  # pytest makes its own in it.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start two workers more than there are processors: tests wait for processes and servers."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (count or 1) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[XSpec]) -> None:
    """Import everything once for all workers, and once for the runs of pytest in all tests."""
    if not hasattr(os, "fork"):
        return
    stack = ExitStack()
    config.add_cleanup(stack.close)
    os.environ[FORK_SERVER] = stack.enter_context(serving())
    if all(spec.popen and not spec.python for spec in specs):
        stack.enter_context(forked_workers(config.invocation_params.args))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from visiting what stays until the end: modules and tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)  # Rarer than by default, which takes 4% of the time.
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the modules without the marker that is asked for, as to collect all takes long."""
    marker = config.getoption("markexpr")
    is_module = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if is_module and marker in MARKERS:
        return marker not in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.hookimpl(tryfirst=True)  # Before items are deselected by their markers.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a PostgreSQL server."""
    for item in items:
        if "postgresql" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgresql)


@pytest.fixture(scope="session")
def postgresql() -> Generator[Server]:
    """Start a PostgreSQL server, once per process of the tests."""
    from database_server import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: Server) -> str:
    """Return the URL of an empty database."""
    return postgresql.empty_database()


@pytest.fixture(scope="session")
def fork_server() -> Generator[ForkServer | None]:
    """Start, once, what starts runs of pytest without their imports; None where nothing forks."""
    if not hasattr(os, "fork"):
        yield None
        return
    address = os.environ.get(FORK_SERVER)
    with ForkServer.shared(address) if address else ForkServer.running() as server:
        yield server

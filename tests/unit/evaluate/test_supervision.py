from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from pytest_mipro.evaluate import supervision
from pytest_mipro.evaluate.supervision import WorkHangs, supervised

SETTING: ContextVar[str] = ContextVar("setting")


def never() -> bool:
    """Say that no work hangs."""
    return False


def raising(error: BaseException) -> None:
    """Raise ``error``."""
    raise error


def test_work_runs_in_the_context_of_its_thread() -> None:
    """It sees the caller's settings, and the same helper runs the next work."""
    SETTING.set("mine")

    assert supervised(SETTING.get, never) == "mine"
    assert supervised(threading.get_ident, never) == supervised(threading.get_ident, never)


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x"), SystemExit(1)])
def test_an_error_of_the_work_is_raised(error: BaseException) -> None:
    """The caller gets the same object."""
    with pytest.raises(type(error)) as caught:
        supervised(lambda: raising(error), never)

    assert caught.value is error


def test_work_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller goes on, and another helper does the next work."""
    monkeypatch.setattr(supervision, "_INTERVAL", 0.01)
    release = threading.Event()

    with pytest.raises(WorkHangs):
        supervised(release.wait, lambda: True)

    assert supervised(lambda: "next", never) == "next"
    release.set()


def test_a_helper_ends_with_its_thread() -> None:
    """Threads that are gone leave no thread behind."""
    helpers: list[threading.Thread] = []
    thread = threading.Thread(
        target=lambda: helpers.append(supervised(threading.current_thread, never))
    )
    thread.start()
    thread.join()

    helpers[0].join(5)
    assert not helpers[0].is_alive()

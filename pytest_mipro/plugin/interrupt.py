"""Ctrl-C: an end that comes soon, and says what is safe and how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from pytest_mipro.plugin.options import Settings


def interrupt_message(settings: Settings) -> str:
    """Return what there is to say after Ctrl-C."""
    return (
        f"mipro: stopped by Ctrl-C. Everything finished so far is safe in {settings.store}; "
        "run the same command again to go on from there."
    )


def exit_after_interrupt(settings: Settings) -> NoReturn:
    """End the session as pytest does after Ctrl-C, with a message that says more."""
    pytest.exit(interrupt_message(settings), returncode=int(pytest.ExitCode.INTERRUPTED))


class InterruptHooks:
    """Hooks that keep pytest from spending the user's patience."""

    def __init__(self, config: pytest.Config) -> None:
        """Watch ``config``'s session."""
        self._full = bool(getattr(config.option, "fulltrace", False))

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Cut the traceback: pytest reads all its files for half a second and shows none."""
        last = excinfo.traceback.filter(excinfo)[-1:]
        if last and not self._full:
            excinfo.traceback = last

"""The end of a session after Ctrl-C, and the message about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_mipro.plugin.safe_text import safe_line

if TYPE_CHECKING:
    from pytest_mipro.plugin.settings import Settings


def interrupt_message(settings: Settings) -> str:
    """Return the message after Ctrl-C."""
    return safe_line(
        "mipro: stopped by Ctrl-C. Everything finished so far is safe in "
        f"{settings.store_name}; run the same command again to go on from there."
    )


def exit_after_interrupt(settings: Settings) -> NoReturn:
    """End the session as pytest does after Ctrl-C, with the message of this plugin."""
    pytest.exit(interrupt_message(settings), returncode=int(pytest.ExitCode.INTERRUPTED))


class InterruptHooks:
    """Hooks that let a session end soon after Ctrl-C."""

    def __init__(self, config: pytest.Config) -> None:
        """Read from ``config`` whether the user wants full tracebacks."""
        self._is_full = bool(getattr(config.option, "fulltrace", False))

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Cut the traceback: pytest reads all its files for half a second and shows none."""
        last = excinfo.traceback.filter(excinfo)[-1:]
        if last and not self._is_full:
            excinfo.traceback = last

"""Open HTML reports in the installed Chromium, without a network.

No browser is downloaded. Tests are skipped where none is installed; they fail
if ``MIPRO_BROWSER`` is ``required``.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request

VARIABLE = "MIPRO_BROWSER"
"""The environment variable that makes tests without a browser fail."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = (1280, 900)
PHONE = (360, 740)


@contextmanager
def chromium() -> Generator[Browser, None, None]:
    """Start the installed Chromium; skip the test if there is none, or fail if it is required."""
    command = next(filter(None, map(shutil.which, NAMES)), None)
    if command is None:
        refuse(f"no Chromium is installed (looked for {', '.join(NAMES)})")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        refuse("playwright is not installed (dependency group `browser`)")
    with sync_playwright() as playwright:
        # The sandbox needs rights that containers, and root, do not have.
        browser = playwright.chromium.launch(
            executable_path=command, args=[*ARGUMENTS], chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            browser.close()


def refuse(reason: str) -> NoReturn:
    """Skip the test for ``reason``, or fail it where a browser is required."""
    if os.environ.get(VARIABLE) == "required":
        pytest.fail(f"{VARIABLE}=required: {reason}")
    pytest.skip(f"{reason}; with {VARIABLE}=required this would fail")


class Visit:
    """An open page, and its actions that a report must not take.

    Attributes:
        page: The page.
        violations: Console messages, page errors, dialogs, and requests other
            than for the file.
    """

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.violations: list[str] = []
        self._address = file.as_uri()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.violations.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.goto(self._address)

    def _console(self, message: ConsoleMessage) -> None:
        self.violations.append(f"console: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.violations.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if request.url != self._address and not request.url.startswith("data:"):
            self.violations.append(f"request: {request.url}")


@contextmanager
def visit(
    browser: Browser,
    file: Path,
    *,
    size: tuple[int, int] = DESKTOP,
    scheme: Literal["light", "dark"] = "light",
    scripts: bool = True,
) -> Generator[Visit, None, None]:
    """Open ``file`` in a window of this size; at the end, check that there are no violations."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        java_script_enabled=scripts,
        offline=True,
    )
    try:
        opened = Visit(context.new_page(), file)
        yield opened
    finally:
        context.close()
    assert not opened.violations, opened.violations

"""Make the pictures of the README: the example at the terminal, and its HTML report.

    python docs/pictures.py

The command compiles a copy of ``examples/question_type`` on the embedded model
and takes the pictures with the installed Chromium. It needs the extras
``html`` and ``local`` and the dependency group ``browser``.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
COLUMNS = 100
WIDTH = 1200
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: {background} }}
pre {{ display: inline-block; margin: 0; padding: 24px; color: {foreground};
font: 14px/1.35 "DejaVu Sans Mono", "Liberation Mono", monospace }}</style><pre>{code}</pre>"""


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description="Make the pictures of the README.")
    parser.add_argument("--project", type=Path, default=ROOT / "examples" / "question_type")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(options.project, Path(folder) / options.project.name))
        output = run(project)
        with chromium() as browser:
            picture_terminal(browser, output, options.out / "terminal.png")
            picture_report(browser, project / "report.html", options.out)


def run(project: Path) -> str:
    """Run the tests of ``project``, and return their output with its colours."""
    shutil.rmtree(project / ".mipro", ignore_errors=True)
    settings = ("-p", "no:cacheprovider", "--mipro", "--color=yes", "-v")
    command = [sys.executable, "-m", "pytest", *settings, "--mipro-report", "report.html"]
    # ruff: ignore[subprocess-without-shell-equals-true]: the command is the one above
    process = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, "COLUMNS": str(COLUMNS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if process.returncode:
        sys.exit(f"the tests of {project.name} did not pass:\n{process.stdout}")
    return "$ pytest --mipro -v --mipro-report report.html\n" + _portable(process.stdout)


def _portable(output: str) -> str:
    """Return the output from the header on, without lines that differ between machines."""
    lines = output.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("mipro: "))
    local = ("rootdir:", "plugins:", "hypothesis profile")
    return "\n".join(line for line in lines[start:] if not line.startswith(local))


@contextmanager
def chromium() -> Generator[Browser]:
    """Start the installed Chromium."""
    command = next(filter(None, map(shutil.which, NAMES)), None)
    if command is None:
        sys.exit(f"no Chromium is installed (looked for {', '.join(NAMES)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=command,
            args=["--disable-gpu", "--disable-background-networking", "--disable-component-update"],
            # The sandbox needs rights that containers, and root, do not have.
            chromium_sandbox=False,
        )
        try:
            yield browser
        finally:
            browser.close()


def picture_terminal(browser: Browser, output: str, file: Path) -> None:
    """Take a picture of a terminal with this output."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(output))
    html = console.export_html(theme=DIMMED_MONOKAI, code_format=_PAGE, inline_styles=True)
    page = _page(browser, WIDTH)
    page.set_content(html)
    page.locator("pre").screenshot(path=file)


def picture_report(browser: Browser, report: Path, folder: Path) -> None:
    """Take pictures of the overview and of the first task of a report."""
    page = _page(browser, WIDTH)
    page.goto(report.as_uri())
    task = page.locator("section").nth(1).bounding_box()
    if task is None:
        raise AssertionError(report)
    page.screenshot(
        path=folder / "overview.png", clip={"x": 0, "y": 0, "width": WIDTH, "height": task["y"]}
    )
    page.locator("section").nth(1).screenshot(path=folder / "task.png")


def _page(browser: Browser, width: int) -> Page:
    return browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")


if __name__ == "__main__":
    main()

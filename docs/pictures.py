"""Make the pictures of the documentation: the example at the terminal, and its reports.

    python docs/pictures.py

The command compiles a copy of ``examples/question_type`` on the embedded model
and takes the pictures with the installed Chromium. Then it accepts a program with
bootstrapped demos, replaces these by a single labelled one, and takes pictures of
the build that fails. It needs the extras ``html`` and ``local`` and the dependency
groups ``browser`` and ``test``.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
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


_COMMENT = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 16px; color: #1f2328; background: #fff; font: 14px/1.5 sans-serif }}
main {{ padding: 0 16px 16px; border: 1px solid #d1d9e0; border-radius: 6px }}
table {{ border-collapse: collapse }}
th, td {{ padding: 6px 13px; border: 1px solid #d1d9e0 }}
pre {{ padding: 16px; overflow: auto; background: #f6f8fa; border-radius: 6px }}
code {{ font: 12px/1.45 "DejaVu Sans Mono", "Liberation Mono", monospace }}
</style><main>{html}</main>"""
TALLEST = 1400
"""Pixels at which a picture of a comment or of a failing task is cut off."""
DECLARED = re.compile(r"^    data_aware_proposer=.+?^\)$", re.MULTILINE | re.DOTALL)
ACCEPTED = """    optimizer="bootstrap",
)"""
CHANGED = """    optimizer="labeled",
    optimizer_options={"k": 1},
)"""
ASSERTS = """    assert mipro.beats_baseline()
    assert mipro.compiled.score >= 0.6
"""
GUARD = """    assert mipro.no_regression(tolerance=0.02)
"""


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description="Make the pictures of the README.")
    parser.add_argument("--project", type=Path, default=ROOT / "examples" / "question_type")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(options.project, Path(folder) / options.project.name))
        shutil.rmtree(project / ".mipro", ignore_errors=True)
        failing = Path(shutil.copytree(project, Path(folder) / "failing" / project.name))
        output = run(project, "-v", "--mipro-report", "report.html")
        failing_output = run_failing(failing)
        with chromium() as browser:
            picture_terminal(browser, output, options.out / "terminal.png")
            picture_report(browser, project / "report.html", options.out)
            picture_terminal(browser, failing_output, options.out / "failing-terminal.png")
            picture_comment(browser, failing / "report.md", options.out / "failing-comment.png")
            picture_task(browser, failing / "report.html", options.out / "failing-report.png")


def run_failing(project: Path) -> str:
    """Accept a program with many demos, leave one, and return the output of the run that fails."""
    (test,) = project.glob("test_*.py")
    text = test.read_text(encoding="utf-8").replace(ASSERTS, GUARD)
    accepted, changed = (DECLARED.sub(lines, text) for lines in (ACCEPTED, CHANGED))
    if text in {accepted, changed}:
        sys.exit(f"{test.name} has not the lines that {Path(__file__).name} replaces")
    test.write_text(accepted, encoding="utf-8")
    run(project, "--mipro-update")
    test.write_text(changed, encoding="utf-8")
    reports = ("--mipro-report", "report.md", "--mipro-report", "report.html")
    return run(project, *reports, settings=("-o", "mipro_inconclusive=fail"), status=1)


def run(project: Path, *options: str, settings: tuple[str, ...] = (), status: int = 0) -> str:
    """Run the tests of ``project``, and return their output with its colours.

    Args:
        project: The folder.
        options: The options that the picture shows.
        settings: Options that it does not show.
        status: The exit status that is expected.
    """
    hidden = ("-p", "no:cacheprovider", "--color=yes", *settings)
    command = [sys.executable, "-m", "pytest", *hidden, "--mipro", *options]
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
    if process.returncode != status:
        sys.exit(f"the tests of {project.name} ended with another status:\n{process.stdout}")
    return f"$ {' '.join(('pytest', '--mipro', *options))}\n{_portable(process.stdout)}"


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


def picture_comment(browser: Browser, report: Path, file: Path) -> None:
    """Take a picture of a Markdown report as a comment on a pull request shows it."""
    page = _page(browser, WIDTH)
    html = MarkdownIt("gfm-like").render(report.read_text(encoding="utf-8"))
    html = html.replace("<details>", "<details open>")
    html = html.replace("❌", '<b style="color: #d1242f">✖</b>')  # GitHub brings a font of emoji
    page.set_content(_COMMENT.format(html=html))
    _picture_top(page, "main", file)


def picture_task(browser: Browser, report: Path, file: Path) -> None:
    """Take a picture of the beginning of the first task of an HTML report."""
    page = _page(browser, WIDTH)
    page.goto(report.as_uri())
    _picture_top(page, "section:nth-of-type(2)", file)


def _picture_top(page: Page, selector: str, file: Path) -> None:
    """Take a picture of an element, cut off where it is too tall."""
    box = page.locator(selector).first.bounding_box()
    if box is None:
        raise AssertionError(selector)
    page.set_viewport_size({"width": WIDTH, "height": int(box["y"]) + TALLEST})
    clip = {**box, "height": min(box["height"], TALLEST)}
    page.screenshot(path=file, clip=clip, full_page=True)  # type: ignore[arg-type]  # of those keys


def _page(browser: Browser, width: int) -> Page:
    return browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")


if __name__ == "__main__":
    main()

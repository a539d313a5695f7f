"""The HTML report works in a browser: without requests, by keyboard, on any screen, on paper."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import browser
import hostile
import pytest
import summaries

from pytest_mipro.report.html import render_html

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from pytest_mipro.report.summary import Summary

SCORES = (0.0, 1.0, 0.5, 1.0, 0.0, 0.25, 1.0, 0.0, 1.0, 0.5, 0.75, 1.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start the browser once for all tests."""
    with browser.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report with a task of each kind."""
    return write(tmp_path_factory.mktemp("report"), summaries.summary())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report about one task with more examples than a table shows at first."""
    examples = tuple(
        summaries.held_out(first, then, number=number, ticket=f"Ticket {number}")
        for number, (first, then) in enumerate(itertools.pairwise(SCORES))
    )
    failed = replace(
        summaries.held_out(0.0, 0.0, number=99, failure=summaries.FAILURE),
        identity="f" * 32,
    )
    outcome = summaries.report("FAIL", examples=(*examples, failed))
    task = summaries.task_summary(outcome, failed=True, message="assert FAIL")
    return write(tmp_path_factory.mktemp("table"), summaries.summary(task))


def write(folder: Path, summary: Summary) -> Path:
    """Write the report about ``summary`` to a file."""
    file = folder / "report.html"
    file.write_text(render_html(summary), encoding="utf-8")
    return file


def visible_cells(page: Page, column: str) -> list[str]:
    """Return the visible cells of a column, from the top."""
    cells: Sequence[Locator] = page.locator(f".examples td[data-label='{column}']:visible").all()
    return [cell.inner_text().strip() for cell in cells]


def violations(page: Page) -> list[str]:
    """Return the violations that axe reports, with their elements."""
    from axe_playwright_python.sync_playwright import Axe

    response: dict[str, Any] = Axe().run(page).response
    return [
        f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for violation in response["violations"]
        for node in violation["nodes"]
    ]


def unfold(page: Page) -> None:
    """Unfold all texts and tables."""
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    for button in page.locator("[data-more]:visible").all():
        button.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [browser.DESKTOP, browser.PHONE])
def test_it_is_accessible(
    chromium: Browser,
    report: Path,
    size: tuple[int, int],
    scheme: Literal["light", "dark"],
) -> None:
    """Axe reports no violation, contrast included, and the page is not wider than the screen."""
    with browser.visit(chromium, report, size=size, scheme=scheme) as visit:
        assert violations(visit.page) == []
        unfold(visit.page)
        assert violations(visit.page) == []
        width = visit.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]


def test_a_dark_page_has_dark_pictures(chromium: Browser, report: Path) -> None:
    """The colours of the pictures are those of the page, in both schemes."""
    colours = []
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        with browser.visit(chromium, report, scheme=scheme) as visit:
            text = visit.page.locator("figure svg text").first
            colours.append(text.evaluate("label => getComputedStyle(label).fill"))
    assert colours == ["rgb(86, 96, 107)", "rgb(163, 173, 184)"]


def test_sorting_by_mouse(chromium: Browser, table: Path) -> None:
    """A click on a header sorts by its column, a second one in reverse; both are announced."""
    with browser.visit(chromium, table) as visit:
        page = visit.page
        page.get_by_role("button", name="Show all 14").click()
        header = page.locator(".examples th", has_text=re.compile(r"^Compiled$"))
        button = header.get_by_role("button")
        button.click()
        ascending = [float(score) for score in visible_cells(page, "Compiled")]
        assert ascending == sorted(ascending)
        assert header.get_attribute("aria-sort") == "ascending"
        assert "Sorted by Compiled, ascending." in page.get_by_role("status").inner_text()
        button.click()
        assert [float(score) for score in visible_cells(page, "Compiled")] == ascending[::-1]
        assert header.get_attribute("aria-sort") == "descending"
        page.get_by_role("columnheader", name="Inputs").get_by_role("button").click()
        assert header.get_attribute("aria-sort") is None
        assert visible_cells(page, "Inputs")[:3] == [
            "ticket: Ticket 0",
            "ticket: Ticket 1",
            "ticket: Ticket 2",
        ]


def test_filtering_by_mouse(chromium: Browser, table: Path) -> None:
    """A filter shows as many examples as its button says, and the status says so, too."""
    with browser.visit(chromium, table) as visit:
        page = visit.page
        kinds = {"Got worse": "▼ worse", "Got better": "▲ better"}
        for name, shown in kinds.items():
            button = page.get_by_role("button", name=name)
            button.click()
            assert button.get_attribute("aria-pressed") == "true"
            changes = visible_cells(page, "Change")
            assert set(changes) == {shown}
            assert button.inner_text().endswith(f"({len(changes)})")
            status = page.get_by_role("status").inner_text()
            assert status == f"Showing {len(changes)} of 14 examples that {name.lower()}."
        page.get_by_role("button", name="Failed (1)").click()
        assert visible_cells(page, "Inputs") == ["ticket: Ticket 99"]
        page.get_by_role("button", name="All (14)").click()
        assert len(visible_cells(page, "Change")) == 10


def test_everything_by_keyboard(chromium: Browser, table: Path) -> None:
    """The tab key reaches every control and makes it visible; enter and space press it."""
    with browser.visit(chromium, table) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reach(page, "Got worse")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Space")
        assert set(visible_cells(page, "Change")) == {"▼ worse"}
        reach(page, "Baseline")
        page.keyboard.press("Enter")
        scores = [float(score) for score in visible_cells(page, "Baseline")]
        assert scores == sorted(scores)
        page.keyboard.press("Enter")
        assert [float(score) for score in visible_cells(page, "Baseline")] == scores[::-1]
        reach(page, "What changed against the baseline")
        page.keyboard.press("Enter")
        assert not page.locator(".diff").first.is_visible()


def reach(page: Page, name: str) -> None:
    """Press the tab key until the text of the focused element begins with ``name``."""
    for _ in itertools.repeat(None, 60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()").startswith(name):
            return
    pytest.fail(f"the tab key does not reach {name!r}")


def test_a_link_opens_what_it_leads_to(chromium: Browser, report: Path) -> None:
    """The link to a passed task unfolds it."""
    with browser.visit(chromium, report) as visit:
        page = visit.page
        task = page.locator("#task-4")
        assert not task.locator("table.examples").is_visible()
        page.get_by_role("link", name="router", exact=True).click()
        # The event of the new address comes after the click is over.
        task.locator("table.examples").wait_for(state="visible")


def test_links_lead_to_changes(chromium: Browser, report: Path) -> None:
    """A link to changed examples or prompts unfolds their task."""
    with browser.visit(chromium, report) as visit:
        task = visit.page.locator("#task-4")
        for name, shown in (("got worse than", ".examples"), ("changed in the prompt", ".diff")):
            visit.page.evaluate("document.querySelector('#task-4 details.body').open = false")
            task.get_by_role("link", name=name).click()
            task.locator(shown).first.wait_for(state="visible")
            heading = visit.page.locator(":target").bounding_box()
            assert heading is not None
            assert 0 <= heading["y"] < browser.DESKTOP[1]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_long_text_can_be_unfolded(chromium: Browser, table: Path, scripts: bool) -> None:
    """A folded text is hidden until a click, with scripts or without."""
    with browser.visit(chromium, table, scripts=scripts) as visit:
        page = visit.page
        if scripts:
            page.get_by_role("button", name="Failed (1)").click()
        traceback = page.get_by_text("Traceback:")
        assert not traceback.is_visible()
        page.get_by_text("no team called 'x'").click()
        assert traceback.is_visible()


def test_without_scripts_the_page_is_complete(chromium: Browser, table: Path) -> None:
    """Without scripts, all rows are visible, and no button is."""
    with browser.visit(chromium, table, scripts=False) as visit:
        page = visit.page
        assert len(visible_cells(page, "Change")) == 14
        assert page.locator("button:visible").count() == 0


@pytest.mark.parametrize("scripts", [True, False])
def test_on_paper_everything_is_unfolded(chromium: Browser, table: Path, scripts: bool) -> None:
    """A print has all rows and all folded texts, and no button."""
    with browser.visit(chromium, table, scripts=scripts) as visit:
        page = visit.page
        page.emulate_media(media="print", color_scheme="dark")
        assert len(visible_cells(page, "Change")) == 14
        assert page.locator("button[data-filter]:visible").count() == 0
        assert page.get_by_text("The trials in figures").is_visible()
        cell = page.get_by_role("cell", name="dropped")
        box = cell.bounding_box()
        assert box is not None
        assert box["height"] > 0
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"


def test_printing_folds_everything_again(chromium: Browser, report: Path) -> None:
    """Texts that are unfolded for a print are folded after it."""
    with browser.visit(chromium, report) as visit:
        page = visit.page
        count = "document.querySelectorAll('details[open]').length"
        opened = page.evaluate(count)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(count) == page.locator("details").count() > opened
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(count) == opened


def test_hostile_texts_stay_texts(chromium: Browser, tmp_path: Path) -> None:
    """No hostile text opens a dialog, runs, makes a request, or becomes an element."""
    sessions = [summaries.hostile(text) for text in hostile.TEXTS.values()]
    tasks = [task for session in sessions for task in session.tasks]
    file = write(
        tmp_path,
        replace(
            summaries.summary(*tasks),
            store="".join(hostile.TEXTS.values()),
            orphans=tuple(hostile.TEXTS.values()),
            versions=hostile.TEXTS,
        ),
    )
    with browser.visit(chromium, file, size=browser.PHONE) as visit:
        page = visit.page
        unfold(page)
        names = page.evaluate(
            "[...document.querySelectorAll('*')].map(element => element.localName)"
        )
        assert {"img", "iframe", "object", "form", "input", "base"}.isdisjoint(names)
        assert names.count("script") == names.count("style") == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= browser.PHONE[0]


def test_a_required_browser_that_is_missing_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tests are skipped without a browser, and fail where it is required."""
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium is installed"):
        browser.refuse("no Chromium is installed")
    monkeypatch.setenv(browser.VARIABLE, "required")
    with pytest.raises(pytest.fail.Exception, match="no Chromium is installed"):
        browser.refuse("no Chromium is installed")

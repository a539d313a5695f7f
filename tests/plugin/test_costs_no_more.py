"""``mipro.costs_no_more()`` fails a test whose prompt costs much more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from project import Project

METERED = """
import pathlib
from dataclasses import replace
import dspy
import pytest
from dspy import lm15
from scripted import ScriptedEngine

HERE = pathlib.Path(__file__).parent

class Metered(ScriptedEngine):
    def complete(self, request):
        response = super().complete(request)
        tokens = sum(len(message.text or "") for message in request.messages) // 4
        usage = lm15.Usage(input_tokens=tokens, output_tokens=2, total_tokens=tokens + 2)
        return replace(response, usage=usage)

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM("scripted", engine=Metered(HERE / "calls.log"), cache=False)
"""

TEST = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    mipro.costs_no_more(ratio=50)
    assert mipro.costs_no_more(ARGUMENTS)
"""


@pytest.fixture
def metered(project: Project) -> Project:
    """Write a project whose model counts tokens, so that demos make prompts dearer."""
    project.write(conftest=METERED, test_adder=TEST.replace("ARGUMENTS", "ratio=1.2"))
    return project


def test_a_dearer_prompt_fails_in_all_reports(metered: Project) -> None:
    """The terminal, JUnit, JSON, Markdown and HTML show that demos multiply the cost."""
    names = [f"report.{kind}" for kind in ("json", "md", "html")]
    reports = [f"--mipro-report={name}" for name in names]
    result = metered.run("--mipro", "--junitxml=junit.xml", *reports)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*FAIL: an answer takes * tokens, of the baseline * tokens: *"])
    result.stdout.fnmatch_lines(["*ask for fewer demos*"])
    result.stdout.no_fnmatch_line("*Traceback*")

    tree = ET.parse(metered.path / "junit.xml")
    elements = list(tree.iter("property"))
    properties = {element.get("name"): element.get("value") for element in elements}
    assert len(properties) == len(elements)
    assert properties["mipro_costs_no_more"] == "FAIL"
    assert float(properties["mipro_cost_ratio"] or 0) > 1.2

    data = json.loads((metered.path / "report.json").read_text(encoding="utf-8"))
    _, verdict = data["tasks"][0]["report"]["verdicts"]
    assert (verdict["kind"], verdict["comparison"]["unit"]) == ("costs_no_more", "tokens")
    assert len(data["tasks"][0]["report"]["compiled"]["costs"]) == 24
    for name in names[1:]:
        text = (metered.path / name).read_text(encoding="utf-8")
        assert "costs no more" in text
        assert "an answer takes" in text


def test_a_wrong_ratio_is_named(metered: Project) -> None:
    """The failure names the value and the expectation, and shows no frame of the plugin."""
    metered.write(test_adder=TEST.replace("ARGUMENTS", "ratio=0"))
    result = metered.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ratio=0: expected how many times as much is allowed*"])
    result.stdout.no_fnmatch_line("*gate/costs.py*")

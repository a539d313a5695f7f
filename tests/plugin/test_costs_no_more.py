"""``mipro.costs_no_more()``: a prompt that triples the bill is a regression, too."""

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
        asked = sum(len(message.text or "") for message in request.messages) // 4
        counted = lm15.Usage(input_tokens=asked, output_tokens=2, total_tokens=asked + 2)
        return replace(response, usage=counted)

@pytest.fixture(scope="session")
def mipro_lm():
    return dspy.LM("scripted", engine=Metered(HERE / "calls.log"), cache=False)
"""

TEST = """
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET

@mipro_optimize(program=Adder, metric=right, dataset=DATASET)
def test_adder(mipro):
    mipro.costs_no_more(ratio=50)
    assert mipro.costs_no_more(ASKED)
"""


@pytest.fixture
def metered(project: Project) -> Project:
    """Write a project whose model counts tokens, of which demos take many."""
    project.write(conftest=METERED, test_adder=TEST.replace("ASKED", "ratio=1.2"))
    return project


def test_a_dearer_prompt_fails_in_all_reports(metered: Project) -> None:
    """Demos multiply the bill; the terminal, JUnit, JSON, Markdown and HTML say so."""
    names = [f"report.{kind}" for kind in ("json", "md", "html")]
    reports = [f"--mipro-report={name}" for name in names]
    result = metered.run("--mipro", "--junitxml=junit.xml", *reports)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*FAIL: an answer takes * tokens, of the baseline * tokens: *"])
    result.stdout.fnmatch_lines(["*ask for fewer demos*"])
    result.stdout.no_fnmatch_line("*Traceback*")

    tree = ET.parse(metered.path / "junit.xml")
    properties = [(each.get("name"), each.get("value")) for each in tree.iter("property")]
    kept = dict(properties)
    assert len(kept) == len(properties)
    assert kept["mipro_costs_no_more"] == "FAIL"
    assert float(kept["mipro_cost_ratio"] or 0) > 1.2

    data = json.loads((metered.path / "report.json").read_text(encoding="utf-8"))
    _, verdict = data["tasks"][0]["report"]["verdicts"]
    assert (verdict["kind"], verdict["comparison"]["unit"]) == ("costs_no_more", "tokens")
    assert len(data["tasks"][0]["report"]["compiled"]["costs"]) == 60
    for name in names[1:]:
        text = (metered.path / name).read_text(encoding="utf-8")
        assert "costs no more" in text
        assert "an answer takes" in text


def test_a_wrong_ratio_is_named(metered: Project) -> None:
    """The test fails with what was given and what was expected, without a traceback of ours."""
    metered.write(test_adder=TEST.replace("ASKED", "ratio=0"))
    result = metered.run("--mipro")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ratio=0: expected how many times as much is allowed*"])
    result.stdout.no_fnmatch_line("*gate/costs.py*")

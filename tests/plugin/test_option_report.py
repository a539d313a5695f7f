"""``--mipro-report``, the output for GitHub and the properties in JUnit's XML."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytest
from hostile import TEXTS
from jsonschema import Draft202012Validator

from pytest_mipro.report.json_report import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project

pytest.importorskip("altair")

TESTS = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_adder(mipro):
    assert mipro.beats_baseline()

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_accepted(mipro):
    mipro.beats_baseline(margin=0.9)
    mipro.beats_baseline()
    assert mipro.no_regression()

@mipro_optimize(program=Adder, metric=lambda *_: None, dataset=DATASET, **SEARCH, version="1")
def test_broken(mipro):
    assert mipro.compiled.score
"""
NOT_PASSED = """
import pytest
from pytest_mipro import mipro_optimize
from program import Adder, right, DATASET, SEARCH

@pytest.mark.xfail(reason="the gain is smaller")
@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_xfailed(mipro):
    assert mipro.beats_baseline(margin=0.9)

@mipro_optimize(program=Adder, metric=right, dataset=DATASET, **SEARCH)
def test_skipped(mipro):
    assert mipro.beats_baseline()
    pytest.skip("not today")
"""
ALL = ("--mipro-report", "a.json", "--mipro-report", "b.html", "--mipro-report", "c.md")

HOSTILE = """
import json, pathlib
import dspy
import pytest
from pytest_mipro import mipro_optimize

TEXTS = json.loads(pathlib.Path("texts.json").read_text())

class Echo(dspy.Module):
    '''Repeats.'''

    def __init__(self):
        super().__init__()
        self.say = dspy.Predict(dspy.Signature("text -> answer", TEXTS[0]))

    def forward(self, text):
        return dspy.Prediction(answer=text)

def right(example, prediction, trace=None):
    return len(prediction.answer) % 2

ROWS = [
    dspy.Example(text=f"{number} {text}", answer=text).with_inputs("text")
    for number in range(3) for text in TEXTS
]

@pytest.mark.parametrize("text", TEXTS[:3])
@mipro_optimize(
    program=Echo, metric=right, dataset={"train": ROWS[::3], "val": ROWS[1::3], "test": ROWS[2::3]},
    auto=None, num_candidates=2, num_trials=2, minibatch=False,
)
def test_echo(mipro, text):
    assert mipro.compiled.score > 1, text
"""


def read_report(project: Project, name: str = "a.json") -> dict[str, Any]:
    """Return a JSON report that follows its schema."""
    report: dict[str, Any] = json.loads((project.path / name).read_text("ascii"))
    Draft202012Validator(json.loads(SCHEMA.read_text("ascii"))).validate(report)
    return report


def test_expected_failures_and_skips_have_not_passed(compiled: Project) -> None:
    """Reports show a test that fails as expected, or is skipped after its verdict, as such."""
    compiled.write(test_adder=NOT_PASSED)
    compiled.run("--mipro", *ALL).assert_outcomes(xfailed=1, skipped=1)
    tasks = {task["test"].rpartition("::")[2]: task for task in read_report(compiled)["tasks"]}
    assert tasks["test_xfailed"]["status"] == "xfailed"
    assert tasks["test_xfailed"]["word"] == "FAIL"
    assert tasks["test_skipped"]["status"] == "skipped"
    markdown = (compiled.path / "c.md").read_text("utf-8")
    assert "0 of 2 tasks passed, 1 failed as expected, 1 skipped" in markdown
    assert "xfailed, verdict FAIL" in markdown


def test_several_reports_at_once(compiled: Project) -> None:
    """Each report has every task, also the one that errs; the summary names the files."""
    compiled.write(test_adder=TESTS)
    paid = compiled.calls
    result = compiled.run("--mipro", *ALL)
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["report: *a.json", "report: *b.html", "report: *c.md"])
    report = read_report(compiled)
    assert [(task["test"], task["status"], task["word"]) for task in report["tasks"]] == [
        ("test_adder.py::test_adder", "passed", "PASS"),
        ("test_adder.py::test_accepted", "failed", "FAIL"),
        ("test_adder.py::test_broken", "error", "ERROR"),
    ]
    assert report["tasks"][1]["message"].startswith("assert FAIL: no reference is accepted yet")
    assert "the metric returned None" in report["tasks"][2]["message"]
    assert report["usage"]["calls"] == compiled.calls - paid > 0
    assert not report["interrupted"]
    for name in ("b.html", "c.md"):
        text = (compiled.path / name).read_text("utf-8")
        for task in ("test_adder", "test_accepted", "test_broken"):
            assert task in text


def test_a_report_has_every_example(compiled: Project) -> None:
    """The report has inputs, labels, answers and scores in the order of the held-out split."""
    compiled.run("--mipro", "--mipro-report", "a.json")
    (task,) = read_report(compiled)["tasks"]
    report = task["report"]
    assert (task["file"], task["line"]) == ("test_adder.py", 4)
    assert [example["inputs"]["question"] for example in report["held_out"]] == [
        f"What is {number} + {number + 3}?" for number in range(70, 94)
    ]
    for side in ("baseline", "compiled"):
        scores = [example[side]["score"] for example in report["held_out"]]
        assert scores == report[side]["scores"]
        assert report[side]["latency"] > 0
        for example in report["held_out"]:
            (prediction,) = example[side]["predictions"]
            assert (prediction == example["expected"]) == (example[side]["score"] == 1)
    search = report["search"]
    assert search["rows"] == 20
    assert [trial["number"] for trial in search["trials"]] == list(range(len(search["trials"])))
    assert search["score"] >= search["baseline"]


def test_workers_change_no_report(compiled: Project) -> None:
    """The report of a run with workers has the same tasks, and counts the calls of all workers."""
    compiled.write(test_adder=TESTS)
    compiled.run("--mipro", "--mipro-report", "alone.json")
    paid = compiled.calls
    store = "--mipro-store=sqlite:///other.db"
    compiled.run("--mipro", "-n", "2", store, "--mipro-report", "spread.json")
    alone, spread = read_report(compiled, "alone.json"), read_report(compiled, "spread.json")
    assert spread["usage"]["calls"] == compiled.calls - paid
    for task, spread_task in zip(alone["tasks"], spread["tasks"], strict=True):
        for key in ("test", "file", "line", "status", "word"):
            assert task[key] == spread_task[key], key
        if task["report"] is not None:
            for key in ("comparison", "verdicts", "held_out", "search", "prompts_after", "key"):
                assert task["report"][key] == spread_task["report"][key], key


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_junit_has_the_figures_once(project: Project, workers: tuple[str, ...]) -> None:
    """Each test case has the properties of its task once, with and without workers."""
    project.write(test_adder=TESTS)
    project.run("--mipro", "--junitxml=junit.xml", *workers)
    cases = {
        case.attrib["name"]: [
            (element.attrib["name"], element.attrib["value"]) for element in case.iter("property")
        ]
        for case in ET.parse(project.path / "junit.xml").iter("testcase")
    }
    properties = {name: dict(pairs) for name, pairs in cases.items()}
    for name, pairs in cases.items():
        assert len(pairs) == len(properties[name]), name
    assert properties["test_adder"]["mipro_verdict"] == "PASS"
    assert properties["test_adder"]["mipro_beats_baseline"] == "PASS"
    assert float(properties["test_adder"]["mipro_difference"]) > 0
    assert properties["test_adder"]["mipro_n"] == "24"
    # The test that does the work has an unknown price; the other test has no cost.
    paid = {properties[name]["mipro_cost_usd"] for name in ("test_adder", "test_accepted")}
    assert paid == {"unknown", "0.0"}
    assert properties["test_accepted"]["mipro_no_regression"] == "FAIL"
    assert properties["test_accepted"]["mipro_beats_baseline"] == "FAIL"  # one of its two verdicts
    assert "mipro_reference" not in properties["test_accepted"]
    assert properties["test_broken"] == {"mipro_task": "test_broken", "mipro_verdict": "ERROR"}


def test_junit_has_the_score_of_the_reference(accepted: Project) -> None:
    """A test case with a reference has the reference's score."""
    accepted.run("--mipro", "--junitxml=junit.xml")
    tree = ET.parse(accepted.path / "junit.xml")
    elements = tree.iter("property")
    properties = {element.attrib["name"]: element.attrib["value"] for element in elements}
    assert properties["mipro_reference"] == properties["mipro_compiled"]


@pytest.mark.parametrize(
    "path, complaint",
    [
        ("report.pdf", "expected a file that ends in .html, .md, .json"),
        ("report", "expected a file that ends in"),
        ("program.py/report.json", "cannot be written"),
        ("folder.json", "cannot be written: *Is a directory"),
    ],
)
def test_a_wrong_path_is_an_error_before_any_call(
    project: Project, path: str, complaint: str
) -> None:
    """The error names the flag and the value, and nothing is compiled."""
    (project.path / "folder.json").mkdir()
    result = project.run("--mipro", "--mipro-report", "good.json", "--mipro-report", path)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --mipro-report='{path}': *{complaint}*"])
    assert project.calls == 0
    assert not (project.path / "good.json").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_an_error(project: Project) -> None:
    """The error precedes all LM calls."""
    folder = project.path / "locked"
    folder.mkdir(mode=0o500)
    result = project.run("--mipro", "--mipro-report", "locked/a.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert project.calls == 0


def test_html_needs_its_extra(project: Project) -> None:
    """Without the libraries, the error shows the command that installs them."""
    hide = "import sys; sys.modules['altair'] = None; import pytest; sys.exit(pytest.main())"
    result = project.pytester.run(sys.executable, "-c", hide, "--mipro", "--mipro-report", "a.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*--mipro-report='a.html': *altair is not installed*",
            "*pip install*pytest-mipro[[]html]*",
        ]
    )


def test_the_ini_file_names_reports(compiled: Project) -> None:
    """The ini option has a path per line, relative to the rootdir; a flag replaces it."""
    compiled.pytester.makeini("[pytest]\nmipro_report =\n    out/a.json\n    out/c.md\n")
    compiled.run("--mipro")
    assert sorted(path.name for path in (compiled.path / "out").iterdir()) == ["a.json", "c.md"]
    compiled.run("--mipro", "--mipro-report", "b.json")
    assert read_report(compiled, "b.json")["tasks"]


def test_a_report_is_replaced_as_a_whole(compiled: Project) -> None:
    """A shorter report leaves neither the end of a longer one nor a temporary file."""
    (compiled.path / "a.json").write_text("x" * 1_000_000)
    compiled.run("--mipro", "--mipro-report", "a.json")
    assert read_report(compiled)["tasks"]
    assert not [path.name for path in compiled.path.iterdir() if "a.json" in path.name[1:]]


def test_a_report_that_cannot_be_written_at_the_end_fails_the_run(project: Project) -> None:
    """The summary names the report, the run fails, and the store keeps the artifact."""
    project.write(
        test_adder=TESTS.split("@", maxsplit=1)[0] + "@" + TESTS.split("@")[1],
        test_folder="""
        import pathlib, shutil

        def test_removes_the_folder():
            shutil.rmtree("out", ignore_errors=True)
            pathlib.Path("out").write_text("")
        """,
    )
    result = project.run("--mipro", "--mipro-report", "out/a.json")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["the report *a.json could not be written: *"])
    paid = project.calls
    project.run("--mipro").assert_outcomes(passed=2)
    assert project.calls == paid


def test_without_mipro_there_is_no_report(project: Project) -> None:
    """A session that judges nothing writes no report."""
    project.run("--mipro-report", "a.json").assert_outcomes(skipped=1)
    assert not (project.path / "a.json").exists()


def test_github_gets_a_summary_and_annotations(
    compiled: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The job's summary gets the report appended, and each failing test gets an annotation."""
    compiled.write(test_adder=TESTS)
    step = tmp_path / "summary.md"
    step.write_text("# Step 1\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(compiled.path.parent))
    result = compiled.run("--mipro")
    file = f"{compiled.path.name}/test_adder.py"
    result.stdout.fnmatch_lines(
        [
            f"::error file={file},line=15,title=*test_broken*::*the metric returned None*",
            f"::error file={file},line=9,title=*test_accepted*::*no reference*",
        ]
    )
    text = step.read_text("utf-8")
    assert text.startswith("# Step 1\n")
    assert "<!-- pytest-mipro -->" in text
    assert "test_accepted" in text


def test_no_annotations_outside_github(compiled: Project) -> None:
    """Outside of GitHub's runners, no line has the form of a workflow command."""
    compiled.write(test_adder=TESTS)
    result = compiled.run("--mipro", "-vv")
    assert not [line for line in result.outlines if line.lstrip().startswith("::")]


def test_hostile_texts_break_no_report(project: Project) -> None:
    """All reports are written for hostile texts in datasets, instructions and test ids."""
    texts = [text for text in TEXTS.values() if text.strip() and "\ud800" not in text]
    (project.path / "texts.json").write_text(json.dumps(texts))
    project.write(test_adder=HOSTILE)
    result = project.run("--mipro", "-vv", "--junitxml=junit.xml", *ALL)
    result.assert_outcomes(failed=3)
    assert len(read_report(project)["tasks"]) == 3
    assert ET.parse(project.path / "junit.xml").getroot() is not None
    html = (project.path / "b.html").read_text("utf-8")
    assert "<script>alert" not in html
    # Below its own heading, pytest itself repeats the text of a user's assert.
    lines = iter(result.outlines)
    next(line for line in lines if "= mipro =" in line)
    for line in takewhile(lambda line: "= short test summary" not in line, lines):
        assert not line.lstrip().startswith("::")
        assert line.isprintable()


def test_no_credential_is_repeated(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the output nor a report has the key that a provider's message repeats."""
    secret = "sk-" + "live4711" * 4
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    conftest = (project.path / "conftest.py").read_text()
    project.write(
        conftest=f"{conftest}\n"
        "import dspy\n"
        "import program\n"
        "def forward(self, question):\n"
        f"    raise dspy.LMAuthError('incorrect key provided: {secret}')\n"
        "program.Adder.forward = forward\n"
    )
    result = project.run("--mipro", "--junitxml=junit.xml", *ALL)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*incorrect key provided: [*][*][*]*"])
    reports = [(project.path / name).read_text("utf-8") for name in ("a.json", "b.html", "c.md")]
    for text in [result.stdout.str(), *reports, (project.path / "junit.xml").read_text("utf-8")]:
        assert secret not in text

"""Each code block of the README and of the documentation does what its page says.

Those that need no run of pytest are in ``test_documented_results.py``, and commands, settings and
workflows in ``test_documented_commands.py``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from documentation import NAMED, PAGES, README, ROOT, TEAMS, block, blocks, conftest

if TYPE_CHECKING:
    import pytest
    from project import Project

KINDS = {
    **dict.fromkeys(("Who", "Which artist"), "person"),
    **dict.fromkeys(("Where", "In which city", "In what country"), "place"),
    "How": "number",
    **dict.fromkeys(("When", "In what year", "Since when", "On which day"), "date"),
}
ON_THE_EMBEDDED_MODEL = "`tox run -e example` compiles it on the embedded model, for minutes"
NOT_COMPARED = {
    "benchmarks/README.md": "it takes minutes; test_benchmarks.py runs each with --quick",
    "examples/judged_answers/README.md": ON_THE_EMBEDDED_MODEL,
    "examples/question_type/README.md": ON_THE_EMBEDDED_MODEL,
    "examples/town_guide/README.md": ON_THE_EMBEDDED_MODEL,
}
"""The pages with output that no test compares, and the reason."""
OF_OTHER_TESTS = {"ini", "yaml", "console", "shell"}
"""The languages of which ``test_documented_commands.py`` takes each block."""
OF_SPHINX = {"{toctree}", "{eval-rst}"}
"""Directives, which ``tox run -e docs`` obeys."""

NAMES = """
import dspy
from pytest_mipro import mipro_optimize
from test_routing import Route, right_team

TicketRouter = lambda: dspy.Predict(Route)
exact_match = right_team

def polite(example, prediction, trace=None):
    return True
"""
"""What pages that declare tasks with these names have before them."""


def declaring_tests() -> list[str]:
    """Return the tests of pages that declare a task with the names above."""
    tests = (code.text for code in blocks("python") if "@mipro_optimize" in code.text)
    named = {block(name) for name in NAMED}
    return [test for test in tests if test not in named]


def shape(text: str) -> str:
    """Return a text with a 0 for each figure, except for the number of examples."""
    return re.sub(r"(?<!n = )(?<![\d.])[+-]?\d+(\.\d+)?", "0", text)


def test_the_first_example_passes(folder: Project) -> None:
    """The test of the README compiles, judges and passes; edits give the reason on two pages."""
    from pytest_mipro import Dataset

    result = folder.run("--mipro", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_routing * PASS *"])
    test = block("first example")
    folder.write(test_routing=test.replace("example.team ==", "example.team.lower() =="))
    rows = [{"ticket": f"A quote for {number} seats", "team": "sales"} for number in range(40)]
    train = Dataset.load(rows, inputs=["ticket"]).train[:3]
    with (folder.path / "tickets.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(f"\n{json.dumps(row.toDict())}" for row in train)
    dry_run = folder.run("--mipro", "--mipro-dry-run").outlines
    for name in ("reason of a compile", "reason in a red build"):
        assert block(name).strip().replace("compiling", "would compile") in dry_run


def test_a_reference_is_accepted_and_loaded(folder: Project) -> None:
    """The added asserts fail, the command that is printed mends it, and the program loads."""
    asserts = block("assert on a reference"), block("assert on costs")
    lines = "".join(f"    {line.strip()}\n" for line in asserts)
    folder.write(test_routing=f"{block('first example')}\n{lines}")
    folder.run("--mipro").assert_outcomes(failed=1)
    _, _, command = block("accepting command").strip().partition("$ pytest ")
    folder.run(*command.split()).assert_outcomes(passed=1)
    folder.run("--mipro", "--mipro-frozen").assert_outcomes(passed=1)
    file = folder.path / "__mipro__" / "test_routing" / "test_routing.json"
    reference = json.loads(file.read_text(encoding="utf-8"))
    documented = json.loads(block("file of a reference"))
    assert documented.items() <= {**reference, "model": documented["model"]}.items()
    script = block("loading in production")
    folder.write(routing="from test_routing import Route", script=f"{script}\nassert router.demos")
    assert folder.pytester.runpython(folder.path / "script.py").ret == 0


def test_each_declared_task_can_be_run(folder: Project) -> None:
    """The dry run takes every test of these pages, and says which limit it has."""
    tests = declaring_tests()
    folder.write(
        **{f"test_block_{number}": NAMES + test for number, test in enumerate(tests)},
        conftest=block("conftest with a model"),
    )
    result = folder.run("--mipro", "--mipro-dry-run", "-v")
    counts = result.parseoutcomes()
    assert counts.keys() <= {"skipped", "warnings"}
    assert counts["skipped"] > len(tests)
    result.stdout.fnmatch_lines(["*lm_calls=600*"])


def test_the_first_example_is_skipped_without_the_flag(folder: Project) -> None:
    """Without ``--mipro`` it costs nothing."""
    folder.run().assert_outcomes(skipped=1)


def test_the_first_example_has_fifteen_lines() -> None:
    """Blank lines and the file's name apart."""
    lines = block("first example").splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) == 15


def test_the_readme_is_short() -> None:
    """It has what a newcomer needs; the rest is in the documentation."""
    assert len((ROOT / README).read_text(encoding="utf-8").splitlines()) <= 200


def test_the_engine_works_without_pytest(folder: Project) -> None:
    """The script of the page compiles and saves a program that plain DSPy loads."""
    script = block("script without pytest")
    configure = 'dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))'
    assert configure in script
    setting = script.replace(
        configure,
        "from scripted import scripted_lm\nfrom test_routing import Route, right_team\n"
        f"dspy.configure(lm=scripted_lm(teams={TEAMS!r}, base=20, per_demo=20))\n"
        "rows = [\n    dspy.Example(ticket=f'{word} {number}', team=team).with_inputs('ticket')\n"
        f"    for number in range(40) for word, team in {TEAMS!r}.items()\n]\n"
        "trainset, valset = rows[:40], rows[40:]",
    )
    folder.write(script=setting)
    assert folder.pytester.runpython(folder.path / "script.py").ret == 0
    state = json.loads((folder.path / "router.json").read_text(encoding="utf-8"))
    assert state["demos"]


def test_the_tutorial_ends_as_it_says(folder: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word by word, but for the model: skipped, green, from the store, and compiled anew."""
    (folder.path / "test_routing.py").unlink()
    folder.write(
        conftest=conftest(KINDS),
        make_questions=block("tutorial's rows"),
        test_kinds=block("tutorial's test"),
    )
    assert folder.pytester.runpython(folder.path / "make_questions.py").ret == 0
    rows = (folder.path / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    assert rows[0] == block("tutorial's first row").strip()
    assert len(rows) == 200
    folder.run().assert_outcomes(skipped=1)
    monkeypatch.setenv("COLUMNS", "80")
    first = folder.run("--mipro", "-v")
    first.assert_outcomes(passed=1)
    assert shape(block("tutorial's result").strip()) in shape(str(first.stdout))
    monkeypatch.setenv("COLUMNS", "200")
    again = folder.run("--mipro", "-v")
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines(["test_kinds * PASS * 0 * from the store"])
    test = block("tutorial's test")
    changed = block("tutorial's change").strip().splitlines()[1]
    (original,) = [line for line in test.splitlines() if "Say what kind" in line]
    folder.write(test_kinds=test.replace(original, changed))
    result = folder.run("--mipro", "-v")
    result.assert_outcomes(passed=1)
    assert block("tutorial's reason").strip() in result.outlines


def test_each_block_is_run_or_compared() -> None:
    """By a test for the block alone or for its language, or there is a reason why not."""
    with_tests = {*map(block, NAMED), *declaring_tests()}
    left = {
        str(code)
        for code in blocks()
        if code.language not in OF_OTHER_TESTS | OF_SPHINX
        and code.text not in with_tests
        and code.page not in NOT_COMPARED
    }
    assert left == set()


def test_each_named_block_is_used() -> None:
    """Some test takes it by its name."""
    folder = Path(__file__).parents[1]
    files = [*folder.glob("*/test_*.py"), *folder.glob("*/conftest.py")]
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    assert {name for name in NAMED if tests.count(f'"{name}"') == 0} == set()


def test_the_badge_is_of_a_workflow_of_the_project() -> None:
    """Another picture of the README is a file of the repository."""
    text = (ROOT / README).read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    (badge,) = [picture for picture in pictures if not (ROOT / picture).is_file()]
    project, _, workflow = badge.partition("/actions/workflows/")
    assert f'Homepage = "{project}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert (ROOT / ".github" / "workflows" / workflow.partition("/")[0]).is_file()


def test_each_argument_is_explained() -> None:
    """The table of the arguments is written by hand; that of the search's options is not."""
    from pytest_mipro.plugin.declaration import NAMES
    from pytest_mipro.task.options import OPTION_NAMES

    text = (ROOT / "docs" / "reference" / "declaration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(set(NAMES).difference(OPTION_NAMES))


def test_each_page_has_one_title() -> None:
    """The list of pages for language models takes it from there."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        titles = Counter(re.findall(r"^# ", prose, re.MULTILINE))
        assert titles.total() == (0 if text.startswith("<!-- page:") else 1), page

"""Each code block of the README and of the documentation does what its page says."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from documentation import README, ROOT, Block, block, blocks
from project import SUPPORT, Project
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Callable

    from forks import ForkServer

TEAMS = {"charged": "billing", "crashes": "technical", "quote": "sales"}
KINDS = {
    **dict.fromkeys(("Who", "Which artist"), "person"),
    **dict.fromkeys(("Where", "In which city", "In what country"), "place"),
    "How": "number",
    **dict.fromkeys(("When", "In what year", "Since when", "On which day"), "date"),
}
LANGUAGES = {"python", "json", "yaml", "ini", "console", "shell", "text", "{toctree}", "{eval-rst}"}
DECLARING = [
    "docs/how-to/budgets.md",
    "docs/how-to/metrics.md",
    "docs/how-to/optimizers.md",
]
"""The pages whose tests declare tasks with the names in ``NAMES``."""

CONFTEST = f"""
import pytest
from scripted import scripted_lm

@pytest.fixture(scope="session")
def mipro_lm():
    return scripted_lm(teams={TEAMS!r}, base=20, per_demo=20)
"""

NAMES = """
import dspy
from pytest_mipro import mipro_optimize
from test_routing import Route, right_team

TicketRouter = lambda: dspy.Predict(Route)
exact_match = right_team

def polite(example, prediction, trace=None):
    return True

def grounded(example, prediction, trace=None):
    return True
"""


def page_of(code: Block) -> str:
    """Return a block's place as a test's name has it."""
    return str(code)


@pytest.fixture
def folder(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer | None
) -> Project:
    """Write the README's test with 150 tickets like the one it shows."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("DSPY_CACHEDIR", str(pytester.path / "dspy-cache"))
    rows = [
        {"ticket": f"Ticket {number}: {word} again", "team": team}
        for number in range(50)
        for word, team in TEAMS.items()
    ]
    assert rows[0].keys() == json.loads(block(README, "json", "ticket")).keys()
    lines = "\n".join(map(json.dumps, rows))
    (pytester.path / "tickets.jsonl").write_text(lines, encoding="utf-8")
    pytester.makepyfile(
        conftest=CONFTEST, test_routing=block(README, "python", "# test_routing.py")
    )
    return Project(pytester, fork_server)


def test_the_first_example_passes(folder: Project) -> None:
    """The test of the README compiles, judges and passes; edits give the reason on two pages."""
    from pytest_mipro import Dataset

    result = folder.run("--mipro", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_routing * PASS *"])
    test = block(README, "python", "# test_routing.py")
    folder.write(test_routing=test.replace("example.team ==", "example.team.lower() =="))
    rows = [{"ticket": f"A quote for {number} seats", "team": "sales"} for number in range(40)]
    train = Dataset.load(rows, inputs=["ticket"]).train[:3]
    with (folder.path / "tickets.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(f"\n{json.dumps(row.toDict())}" for row in train)
    dry_run = folder.run("--mipro", "--mipro-dry-run").outlines
    for page in ("docs/explanation/cache.md", "docs/how-to/red-build.md"):
        reason = block(page, "text", "compiling: ").strip().replace("compiling", "would compile")
        assert reason in dry_run


def test_a_reference_is_accepted_and_loaded(folder: Project) -> None:
    """The added asserts fail, the command that is printed mends it, and the program loads."""
    references, metrics = "docs/how-to/references.md", "docs/how-to/metrics.md"
    asserts = [
        block(references, "python", "no_regression(tolerance").strip(),
        block(metrics, "python", "costs_no_more(").strip(),
    ]
    lines = "".join(f"\n    {line}" for line in asserts)
    folder.write(test_routing=f"{block(README, 'python', '# test_routing.py')}{lines}\n")
    folder.run("--mipro").assert_outcomes(failed=1)
    _, _, command = block(references, "console", "--mipro-update").strip().partition("$ pytest ")
    folder.run(*command.split()).assert_outcomes(passed=1)
    folder.run("--mipro", "--mipro-frozen").assert_outcomes(passed=1)
    script = block(references, "python", "router.load(")
    folder.write(routing="from test_routing import Route", script=f"{script}\nassert router.demos")
    assert folder.pytester.runpython(folder.path / "script.py").ret == 0


def test_each_declared_task_can_be_run(folder: Project) -> None:
    """The dry run takes every test of these pages, and says which limit it has."""
    tests = [code for code in blocks("python", pages=DECLARING) if "@mipro_optimize" in code.text]
    files = {f"test_block_{number}": NAMES + code.text for number, code in enumerate(tests)}
    folder.write(**files)
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
    lines = block(README, "python", "# test_routing.py").splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) == 15


def test_the_readme_is_short() -> None:
    """It has what a newcomer needs; the rest is in the documentation."""
    assert len((ROOT / README).read_text(encoding="utf-8").splitlines()) <= 200


def test_the_engine_works_without_pytest(folder: Project) -> None:
    """The script of the page compiles and saves a program that plain DSPy loads."""
    script = block("docs/how-to/without-pytest.md", "python", "compiled.save")
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


def test_the_tutorial_ends_as_it_says(folder: Project) -> None:
    """Word by word, but for the model: skipped, green, from the store, and compiled anew."""
    page = "docs/tutorial.md"
    (folder.path / "test_routing.py").unlink()
    folder.write(
        conftest=CONFTEST.replace(repr(TEAMS), repr(KINDS)),
        make_questions=block(page, "python", "# make_questions.py"),
        test_kinds=block(page, "python", "# test_kinds.py"),
    )
    assert folder.pytester.runpython(folder.path / "make_questions.py").ret == 0
    rows = (folder.path / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    assert rows[0] == block(page, "json", "question").strip()
    assert len(rows) == 200
    folder.run().assert_outcomes(skipped=1)
    folder.run("--mipro", "-v").assert_outcomes(passed=1)
    again = folder.run("--mipro", "-v")
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines(["test_kinds * PASS * 0 * from the store"])
    test = block(page, "python", "# test_kinds.py")
    changed = block(page, "python", "Tell what kind").strip().splitlines()[1]
    (original,) = [line for line in test.splitlines() if "Say what kind" in line]
    folder.write(test_kinds=test.replace(original, changed))
    reason = block(page, "text", "compiling: ").strip()
    result = folder.run("--mipro", "-v")
    result.assert_outcomes(passed=1)
    assert reason in result.outlines


@pytest.mark.parametrize("code", blocks(), ids=page_of)
def test_each_block_names_a_language_that_is_checked(code: Block) -> None:
    """The tests below know what to do with it."""
    assert code.language in LANGUAGES


@pytest.mark.parametrize("code", blocks("python"), ids=page_of)
def test_each_python_block_compiles(code: Block) -> None:
    """No example has a typing error."""
    make: Callable[..., object] = compile
    assert make(code.text, code.page, "exec") is not None


def test_json_and_yaml_blocks_can_be_read() -> None:
    """They are well-formed: one document, or one in each line."""
    for code in blocks("json"):
        rows = [code.text] if code.text.startswith("{\n") else code.text.splitlines()
        assert list(map(json.loads, rows))
    for code in blocks("yaml"):
        assert YAML(typ="safe").load(code.text)


@pytest.mark.parametrize("code", blocks("ini"), ids=page_of)
def test_each_ini_option_exists(code: Block) -> None:
    """A block for the ini file has the section and the options of one."""
    from pytest_mipro.plugin.settings import options

    parser = configparser.ConfigParser(delimiters=["="], interpolation=None)
    parser.read_string(code.text)
    ours = {"mipro", *(option.key for _, option in options() if option.has_ini)}
    assert parser.sections() == ["pytest"]
    assert {key for key in parser["pytest"] if key.startswith("mipro")} <= ours


@pytest.mark.parametrize("code", blocks("console", "shell"), ids=page_of)
def test_each_command_can_be_given(code: Block) -> None:
    """Its flags, extras, tox environments and scripts exist."""
    from importlib import metadata

    from pytest_mipro.plugin.settings import options

    flags = {"--mipro", *(option.flag for _, option in options() if option.has_flag)}
    extras = set(metadata.metadata("pytest-mipro").get_all("Provides-Extra") or ())
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    assert set(re.findall(r"--mipro[\w-]*", code.text)) <= flags
    for names in re.findall(r"pytest-mipro\[([\w,]+)\]", code.text):
        assert set(names.split(",")) <= extras
    for name in re.findall(r"tox run -e ([a-z]+)\b", code.text):
        assert f"[testenv:{name}]" in tox
    for script in re.findall(r"python ((?:benchmarks|docs)/\w+\.py)", code.text):
        assert (ROOT / script).is_file()
    if code.language == "console":
        assert [line for line in code.text.splitlines() if line.startswith("$ ")]
        assert all(shlex.split(line) for line in code.text.splitlines() if line.startswith("$ "))


def test_the_verdict_that_is_explained_is_one_of_the_plugin() -> None:
    """120 answers exist of which the plugin says that sentence."""
    from pytest_mipro import gate
    from pytest_mipro.records import Scorecard, Usage

    page = "docs/explanation/verdicts.md"
    sentence = " ".join(block(page, "text", "PASS: ").split())
    examples = tuple(map(str, range(120)))

    def verdict(shared: int) -> str:
        """Return the sentence where both programs are right on ``shared`` of the examples."""
        right = [(1.0, 1.0)] * shared + [(1.0, 0.0)] * (35 - shared) + [(0.0, 1.0)] * (102 - shared)
        rows = right + [(0.0, 0.0)] * (120 - len(right))
        cards = [
            Scorecard(examples, tuple(row[program] for row in rows), Usage()) for program in (0, 1)
        ]
        return repr(gate.beats_baseline(*cards, margin=0.0, alpha=0.05, unchanged=False))

    assert sentence in {verdict(shared) for shared in range(20, 36)}


def test_the_look_that_is_explained_is_one_of_the_plugin() -> None:
    """The sentence is that of a seventh look."""
    from pytest_mipro import gate

    sentence = block("docs/explanation/verdicts.md", "text", "7th look")
    clause = gate.LookCount(number=7, examples=120, seeds=3, rescores=2).clause
    assert sentence.startswith(f"{clause}; ")


def test_each_argument_is_explained() -> None:
    """The table of the arguments is written by hand; that of the search's options is not."""
    from pytest_mipro.plugin.declaration import NAMES
    from pytest_mipro.task.options import OPTION_NAMES

    text = (ROOT / "docs" / "reference" / "declaration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(set(NAMES).difference(OPTION_NAMES))


def test_each_page_has_one_title() -> None:
    """The list of pages for language models takes it from there."""
    from documentation import PAGES

    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        titles = Counter(re.findall(r"^# ", prose, re.MULTILINE))
        assert titles.total() == (0 if text.startswith("<!-- page:") else 1), page

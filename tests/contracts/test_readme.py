"""The examples in the README do what the README says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from project import SUPPORT, Project

if TYPE_CHECKING:
    from collections.abc import Callable

    from forks import ForkServer

README = Path(__file__).parents[2] / "README.md"

TEAMS = {"charged": "billing", "crashes": "technical", "quote": "sales"}

CONFTEST = f"""
import pytest
from scripted import scripted_lm

@pytest.fixture(scope="session")
def mipro_lm():
    return scripted_lm(teams={TEAMS!r}, base=20, per_demo=20)
"""


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language."""
    code: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return code


def block(language: str, holds: str) -> str:
    """Return the one code block that holds a text."""
    (code,) = [code for code in blocks(language) if holds in code]
    return code


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
    assert rows[0].keys() == json.loads(block("json", "ticket")).keys()
    lines = "\n".join(map(json.dumps, rows))
    (pytester.path / "tickets.jsonl").write_text(lines, encoding="utf-8")
    pytester.makepyfile(conftest=CONFTEST, test_routing=block("python", "# test_routing.py"))
    return Project(pytester, fork_server)


def test_the_first_example_passes(folder: Project) -> None:
    """The test of the README, as it is printed, compiles, judges and passes."""
    result = folder.run("--mipro", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_routing * PASS *"])


def test_a_reference_is_accepted_and_loaded(folder: Project) -> None:
    """The added asserts fail, the command that is printed mends it, and the program loads."""
    asserts = [
        block("python", name).strip() for name in ("no_regression(tolerance", "costs_no_more(")
    ]
    lines = "".join(f"\n    {line}" for line in asserts)
    folder.write(test_routing=f"{block('python', '# test_routing.py')}{lines}\n")
    folder.run("--mipro").assert_outcomes(failed=1)
    _, _, command = block("console", "--mipro-update").strip().partition("$ pytest ")
    folder.run(*command.split()).assert_outcomes(passed=1)
    folder.run("--mipro", "--mipro-frozen").assert_outcomes(passed=1)
    script = block("python", "router.load(")
    folder.write(routing="from test_routing import Route", script=f"{script}\nassert router.demos")
    assert folder.pytester.runpython(folder.path / "script.py").ret == 0


def test_the_budget_goes_below_the_first_example(folder: Project) -> None:
    """Pasted there, its task can be run: the dry run names its limit."""
    below = block("python", "Budget(lm_calls=")
    folder.write(test_routing=f"{block('python', '# test_routing.py')}\n\n{below}")
    result = folder.run("--mipro", "--mipro-dry-run")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*lm_calls=600*"])


def test_the_first_example_is_skipped_without_the_flag(folder: Project) -> None:
    """Without ``--mipro`` it costs nothing."""
    folder.run().assert_outcomes(skipped=1)


def test_the_first_example_has_fifteen_lines() -> None:
    """Blank lines and the file's name apart."""
    lines = block("python", "# test_routing.py").splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) == 15


def test_the_engine_works_without_pytest(folder: Project) -> None:
    """The script of the README compiles and saves a program that plain DSPy loads."""
    script = block("python", "compiled.save")
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


@pytest.mark.parametrize("source", blocks("python"))
def test_every_python_block_compiles(source: str) -> None:
    """No example has a typing error."""
    make: Callable[..., object] = compile
    assert make(source, "README.md", "exec") is not None


def test_each_option_argument_and_fixture_is_in_the_reference() -> None:
    """The README explains all flags, ini options, arguments and fixtures."""
    from pytest_mipro import plugin
    from pytest_mipro.plugin.declaration import NAMES
    from pytest_mipro.plugin.settings import options

    text = README.read_text(encoding="utf-8")
    flags = [option.flag for _, option in options() if option.has_flag]
    ini_options = [option.key for _, option in options() if option.has_ini]
    fixtures = [name for name in plugin.__all__ if name.startswith("mipro")]
    for name in ["--mipro", *flags, *ini_options, *fixtures, *NAMES]:
        assert f"`{name}" in text, name

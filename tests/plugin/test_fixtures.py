"""The overridable fixtures, and markers of classes and modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from project import Project

pytestmark = pytest.mark.uses("pytest")


def test_fixtures_can_declare_the_whole_task(compiled: Project) -> None:
    """A test that requests ``mipro`` without a declaration is judged."""
    conftest = (compiled.path / "conftest.py").read_text()
    compiled.write(
        conftest=f"""{conftest}
import program

@pytest.fixture(scope="session")
def mipro_program():
    return program.Adder()

@pytest.fixture
def mipro_metric():
    return program.right

@pytest.fixture(scope="module")
def mipro_dataset():
    return program.DATASET
""",
        test_adder="def test_adder(mipro):\n    assert mipro.beats_baseline()\n",
    )
    compiled.run("--mipro").assert_outcomes(passed=1)
    compiled.run().assert_outcomes(skipped=1)


def test_the_closest_marker_wins(compiled: Project) -> None:
    """The marker of a test overrides that of its class, which overrides that of the module."""
    compiled.write(
        test_adder="""
        import pytest
        from program import Adder, right, DATASET, SEARCH

        task = dict(dataset=DATASET, metric=right, **SEARCH)
        pytestmark = pytest.mark.mipro(name="of the module", **task)

        @pytest.mark.mipro(program=Adder, name="of the class")
        class TestAdder:
            def test_inherits(self, mipro):
                assert mipro.task.name == "of the class"

            @pytest.mark.mipro(name="of the test")
            def test_overrides(self, mipro):
                assert mipro.task.name == "of the test"
                assert mipro.task.metric is right
        """
    )
    compiled.run("--mipro").assert_outcomes(passed=2)


def test_parameters_have_their_own_markers(compiled: Project) -> None:
    """Each parameter is judged with its own arguments, and a mistake in one is named."""
    compiled.write(
        test_adder="""
        import pytest
        from program import Adder, right, DATASET, SEARCH
        from pytest_mipro import mipro_optimize
        from scripted import scripted_lm

        def wrong(example, prediction, trace=None):
            return not right(example, prediction)

        @pytest.mark.parametrize(
            "score",
            [
                pytest.param(1, marks=pytest.mark.mipro(metric=right)),
                pytest.param(0, marks=pytest.mark.mipro(metric=wrong)),
            ],
        )
        @mipro_optimize(program=Adder, metric=wrong, dataset=DATASET, **SEARCH)
        def test_adder(mipro, score):
            assert mipro.task.metric is (right if score else wrong)
            assert mipro.report().origin == ("stored" if score else "compiled")
        """,
    )
    compiled.run("--mipro").assert_outcomes(passed=2)
    test = (compiled.path / "test_adder.py").read_text()
    compiled.write(test_adder=test.replace("metric=wrong)),", "metrik=wrong)),"))
    result = compiled.run("--mipro")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*::test_adder[[]0]: mipro has no argument 'metrik'; did you*"])


def test_tests_of_one_task_share_the_work(project: Project) -> None:
    """The first test does the work, also if it runs twice, and the second one names the first."""
    repeat_hook = """

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    from _pytest.runner import runtestprotocol
    if "again" in item.name:
        runtestprotocol(item, log=False, nextitem=nextitem)
        item._initrequest()
"""
    conftest = (project.path / "conftest.py").read_text()
    test = (project.path / "test_adder.py").read_text()
    origin_assert = "\n    assert mipro.report().origin == 'compiled'"
    project.write(
        conftest=conftest + repeat_hook,
        test_adder=test.replace("test_adder", "test_again") + origin_assert,
        test_other=test.replace("test_adder", "test_other"),
    )
    result = project.run("--mipro")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            f"test_again * {project.calls} * compiled in *: no artifact in the store yet",
            "test_other * 0 * shared with test_adder.py::test_again",
        ]
    )


def test_a_fixture_with_params_judges_each_if_the_test_requests_it(compiled: Project) -> None:
    """The error says how, for a fixture behind the fixture as well, and that works."""
    conftest = (compiled.path / "conftest.py").read_text()
    compiled.write(
        conftest=f"""{conftest}
import program

@pytest.fixture(params=["right", "wrong"])
def kind(request):
    return request.param

@pytest.fixture
def mipro_metric(kind):
    return getattr(program, kind)

@pytest.fixture
def mipro_adapter():
    pytest.fail("no parameter defined here")
""",
        program=(compiled.path / "program.py").read_text()
        + "\ndef wrong(example, prediction, trace=None):\n    return example.answer == 1\n",
        test_adder="""
        import pytest
        from pytest_mipro import mipro_optimize
        from program import Adder, DATASET, SEARCH

        @mipro_optimize(program=Adder, dataset=DATASET, **SEARCH, adapter=None)
        def test_without(mipro):
            pass

        @pytest.mark.usefixtures("mipro_metric")
        @mipro_optimize(program=Adder, dataset=DATASET, **SEARCH, adapter=None)
        def test_with(mipro, kind):
            assert mipro.task.metric.__name__ == kind

        @mipro_optimize(program=Adder, dataset=DATASET, metric=lambda example, prediction: 1)
        def test_failing(mipro):
            pass
        """,
    )
    result = compiled.run("--mipro", "-W", "ignore::pytest_mipro.MiproWarning")
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        ["mipro: the fixture mipro_metric, or a *usefixtures('mipro_metric')", "*defined here"]
    )
    assert "requested fixture has no parameter" not in result.stdout.str()


def test_a_teacher_and_a_prompt_model_can_be_named(project: Project) -> None:
    """The teacher model answers while bootstrapping, the prompt model while proposing."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(
        conftest=f"""{conftest}
@pytest.fixture(scope="session")
def mipro_prompt_lm():
    return scripted_lm(pathlib.Path(__file__).parent / "prompt.log")

@pytest.fixture(scope="session")
def mipro_teacher():
    return scripted_lm(pathlib.Path(__file__).parent / "teacher.log", base=100)
"""
    )
    project.run("--mipro").assert_outcomes(passed=1)
    prompt_calls = (project.path / "prompt.log").read_text().count("call")
    teacher_calls = (project.path / "teacher.log").read_text().count("call")
    assert 0 < prompt_calls < 20
    assert 0 < teacher_calls <= 20

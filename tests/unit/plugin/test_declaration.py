"""The check of what a test declares."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from sessions import DATASET, HELD_OUT, SMALL, TRAIN, VAL, Adder, right, sums

from pytest_mipro import Budget, mipro_optimize
from pytest_mipro.errors import DatasetError, DeclarationError
from pytest_mipro.plugin.declaration import NAMES, RESOLVED, check, declaring_test
from pytest_mipro.task import OPTION_NAMES, Options, Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMPLETE: dict[str, Any] = {"program": Adder, "metric": right, "dataset": DATASET}
MARKER = pytest.mark.mipro.with_args


class Sharing:
    """Tests that share a declaration; pytest does not collect a class of this name."""

    pytestmark = MARKER(**COMPLETE, name="of the class", seed=1)

    @MARKER(name="of the test")
    def test_overriding(self, mipro: object) -> None:
        """Override an argument of the class."""

    def test_silent(self) -> None:
        """Request no outcome."""


@pytest.fixture
def parent(request: pytest.FixtureRequest) -> pytest.Module:
    """Return this module as pytest collects it, as the parent of new tests."""
    module = request.node.getparent(pytest.Module)
    assert module is not None
    return module


@pytest.fixture
def sharing(parent: pytest.Module) -> pytest.Class:
    """Return the class ``Sharing`` as pytest collects it."""
    collected: pytest.Class = pytest.Class.from_parent(parent, name="Sharing")
    return collected


def item(parent: pytest.Collector, test: Callable[..., Any]) -> pytest.Item:
    """Return a test as pytest collects it."""
    node: pytest.Item = pytest.Function.from_parent(parent, name=test.__name__, callobj=test)
    return node


def items(parent: pytest.Module, test: Callable[..., Any]) -> list[pytest.Item]:
    """Return the tests of a parametrized function as pytest collects them."""
    collected: list[pytest.Item] = parent.ihook.pytest_pycollect_makeitem(
        collector=parent, name=test.__name__, obj=test
    )
    return collected


def declaring(parent: pytest.Module, **values: Any) -> pytest.Item:
    """Return a test that declares ``values``."""

    @mipro_optimize(**values)
    def test_adder(mipro: object) -> None:
        raise AssertionError(mipro)

    return item(parent, test_adder)


class TestCheck:
    def test_a_declaration_is_checked_and_loaded(self, parent: pytest.Module) -> None:
        """The check returns the values, the options, the dataset and the folder."""
        declared = check(declaring(parent, **COMPLETE, **SMALL, name="adder"))
        assert declared.values == {**COMPLETE, **SMALL, "name": "adder"}
        assert declared.options == Options.checked(**SMALL)
        assert declared.dataset is DATASET
        assert declared.folder == parent.path.parent

    def test_all_arguments_can_be_left_out(self, parent: pytest.Module) -> None:
        """An empty declaration has default options and no dataset."""
        declared = check(declaring(parent))
        assert (declared.values, declared.options, declared.dataset) == ({}, Options(), None)

    def test_a_dataset_is_read_beside_the_test(self, parent: pytest.Module, tmp_path: Path) -> None:
        """The check reads files and splits them as declared."""
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(f'{{"q": {i}, "a": 0, "part": "test"}}\n' for i in range(3)))
        rows = {"dataset": path, "inputs": ["q"], "split": "part"}
        with pytest.raises(DatasetError, match="train split is empty"):
            check(declaring(parent, **{**COMPLETE, **rows}))
        splits = {"train": [{"q": 1, "a": 0}], "val": [{"q": 2, "a": 0}], "test": path}
        rows = {"dataset": splits, "inputs": ["q"]}
        with pytest.raises(DatasetError, match="share"):
            check(declaring(parent, **{**COMPLETE, **rows}))
        splits["train"], splits["val"] = [{"q": 7, "a": 0}], [{"q": 8, "a": 0}]
        dataset = check(declaring(parent, **{**COMPLETE, **rows})).dataset
        assert dataset is not None
        assert [example.q for example in dataset.test] == [0, 1, 2]

    def test_the_dataset_of_a_fixture_is_checked_like_a_declared_one(
        self, parent: pytest.Module
    ) -> None:
        """A dataset from a fixture needs the declared cluster field, too."""
        declared = check(declaring(parent, cluster="document"))
        with pytest.raises(DatasetError, match="cluster='document'"):
            declared.load(DATASET)
        assert check(declaring(parent, cluster="answer")).load(DATASET) is DATASET

    def test_the_closest_marker_wins(self, sharing: pytest.Class) -> None:
        """The marker of a test overrides single arguments of the marker of its class."""
        declared = check(item(sharing, Sharing.test_overriding))
        assert declared.values == {**COMPLETE, "name": "of the test", "seed": 1}

    def test_the_closest_marker_decides_between_one_metric_and_several(
        self, parent: pytest.Module
    ) -> None:
        """Metrics of a test replace the metric of its class, and the other way round."""
        several: dict[str, Any] = {"metrics": {"exact": right}}
        single: dict[str, Any] = {"metric": right}
        for outer, inner in ((several, single), (single, several)):
            test = declaring(parent, **inner)
            test.add_marker(MARKER(**outer), append=True)
            assert check(test).values == inner

    def test_a_declaration_belongs_to_the_test_without_its_parameters(
        self, parent: pytest.Module
    ) -> None:
        """All parameter sets of a test share its declaration."""

        def test_adder(mipro: object) -> None:
            raise AssertionError(mipro)

        node = pytest.Function.from_parent(
            parent, name="test_adder[1]", callobj=test_adder, originalname="test_adder"
        )
        assert declaring_test(node) == f"{parent.nodeid}::test_adder"

    def test_the_marker_of_a_parameter_is_the_closest(
        self, parent: pytest.Module, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A parameter with a marker has a declaration of its own, which completes the test's."""

        @pytest.mark.parametrize(
            "size",
            [
                pytest.param(1, marks=MARKER(name="of the parameter", num_candidates=2)),
                pytest.param(2, marks=[pytest.mark.filterwarnings, MARKER(name="2", **SMALL)]),
                3,
                4,
            ],
        )
        @mipro_optimize(**COMPLETE, auto=None, name="of the test", seed=7)
        def test_adder(mipro: object, size: int) -> None:
            raise AssertionError(mipro, size)

        monkeypatch.setattr(parent.obj, "test_adder", test_adder, raising=False)
        first, second, third, fourth = items(parent, test_adder)

        values = check(first).values
        assert (values["name"], values["num_candidates"]) == ("of the parameter", 2)
        assert values["seed"] == 7
        assert check(second).options == Options.checked(**{**SMALL, "seed": 7})
        with pytest.raises(DeclarationError, match="auto=None needs num_candidates and num_trials"):
            check(third)
        assert declaring_test(first) == f"{parent.nodeid}::test_adder[1]"
        assert declaring_test(third) == declaring_test(fourth) == f"{parent.nodeid}::test_adder"


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "metric and metrics": (
        {"metrics": {"exact": right}},
        r"metric=\.\.\. and metrics=\{\.\.\.\} contradict each other",
    ),
    "unknown argument": ({"num_trails": 3}, r"no argument 'num_trails'; did you mean 'num_trials'"),
    "argument of no similar name": (
        {"zzz": 3},
        r"no argument 'zzz'; expected one of program, metric, ",
    ),
    "metric not callable": ({"metric": "exact"}, r"metric='exact' is not callable; expected a"),
    "metric of one argument": (
        {"metric": lambda example: 1},
        r"<lambda> cannot be called with an example and a prediction: it takes \(example\), ",
    ),
    "adapter class": ({"adapter": dspy.JSONAdapter}, r"adapter=JSONAdapter is not a dspy"),
    "program of another type": ({"program": 3}, r"program=3 is not a dspy\.Module"),
    "program of another class": ({"program": dict}, r"program=dict is not a dspy\.Module"),
    "missing file": (
        {"dataset": "nowhere.jsonl", "inputs": ["question"]},
        r"dataset file .*unit/plugin/nowhere\.jsonl does not exist",
    ),
    "overlap": (
        {"dataset": {"train": TRAIN, "val": (*VAL, TRAIN[1]), "test": HELD_OUT}},
        r"the splits share 1 example",
    ),
    "empty test split": (
        {"dataset": {"train": TRAIN, "val": VAL, "test": []}},
        r"the test split is empty \(3 train, 4 val, 0 test\)",
    ),
    "inputs not marked": ({"dataset": [dspy.Example(a=1)]}, r"declares no inputs.*inputs="),
    "cluster field missing": (
        {"cluster": "document"},
        r"cluster='document': train\[0\] has no value in that field; it has .*'question'",
    ),
    "single cluster": (
        {"cluster": "answer", "dataset": {"train": TRAIN, "val": VAL, "test": sums(20, 1)}},
        r"cluster='answer': all 1 held-out examples are in one cluster, '43'",
    ),
    "cluster of another type": ({"cluster": 3}, r"cluster=3: expected the name of a field"),
    "sequential of another type": (
        {"sequential": "yes"},
        r"sequential='yes': expected True or False",
    ),
    "alpha_spending of another type": (
        {"alpha_spending": 1},
        r"alpha_spending=1: expected True or False",
    ),
    "repeat of another type": (
        {"repeat": True},
        r"repeat=True: expected a whole number of at least 1",
    ),
    "budget of another type": (
        {"budget": {"x": 1}},
        r"budget=\{'x': 1\}: expected pytest_mipro\.Budget",
    ),
    "wrong option": ({"auto": "huge"}, r"auto='huge': .*'light', 'medium' or 'heavy'"),
    "contradicting options": ({"num_trials": 3}, r"auto='light' sets num_candidates and num_tri"),
}


class TestMistakes:
    @pytest.mark.parametrize("values, message", MISTAKES.values(), ids=MISTAKES)
    def test_a_mistake_is_named(
        self, parent: pytest.Module, values: dict[str, Any], message: str
    ) -> None:
        """The error has the value and the expectation."""
        with pytest.raises(DeclarationError, match=message):
            check(declaring(parent, **{**COMPLETE, **values}))

    def test_a_budget_is_accepted(self, parent: pytest.Module) -> None:
        """A budget is an attribute of the task."""
        budget = Budget(lm_calls=3)
        assert check(declaring(parent, **COMPLETE, budget=budget)).task_attributes == {
            "budget": budget
        }

    def test_positional_arguments_are_refused(self, parent: pytest.Module) -> None:
        """A positional argument is an error that shows its value."""

        @MARKER(Adder)
        def test_adder(mipro: object) -> None:
            raise AssertionError(mipro)

        with pytest.raises(DeclarationError, match=r"keyword arguments only, got <class .*Adder"):
            check(item(parent, test_adder))

    def test_a_marked_test_without_the_fixture_is_refused(self, parent: pytest.Module) -> None:
        """A marked test needs the fixture ``mipro``, or ``request``."""

        @MARKER(**COMPLETE)
        def test_silent() -> None:
            pass

        @MARKER(**COMPLETE)
        def test_late(request: pytest.FixtureRequest) -> None:
            raise AssertionError(request)

        with pytest.raises(DeclarationError, match="does not request its outcome"):
            check(item(parent, test_silent))
        assert check(item(parent, test_late)).dataset is DATASET

    def test_a_marked_class_may_have_tests_without_the_fixture(self, sharing: pytest.Class) -> None:
        """A test that has the marker from its class need not request the outcome."""
        assert check(item(sharing, Sharing.test_silent)).dataset is DATASET


class TestNames:
    def test_each_argument_is_used(self) -> None:
        """An argument is resolved, an option of the search, or an attribute of the task."""
        attributes = {attribute.name for attribute in fields(Task)}
        plain = set(NAMES) - RESOLVED - set(OPTION_NAMES)
        assert set(NAMES) >= RESOLVED | set(OPTION_NAMES)
        assert plain <= attributes

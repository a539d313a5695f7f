"""What a test declares wrongly is named when it is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from sessions import DATASET, HELD_OUT, SMALL, TRAIN, VAL, Adder, right, sums

from pytest_mipro import Budget, mipro_optimize
from pytest_mipro.errors import DatasetError, DeclarationError
from pytest_mipro.plugin.declaration import check, declaring_test
from pytest_mipro.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHOLE: dict[str, Any] = {"program": Adder, "metric": right, "dataset": DATASET}
DECLARED = pytest.mark.mipro.with_args


class Sharing:
    """Has tests that share a declaration; its name keeps pytest from running them."""

    pytestmark = DECLARED(**WHOLE, name="of the class", seed=1)

    @DECLARED(name="of the test")
    def test_overriding(self, mipro: object) -> None:
        """Declare something else."""

    def test_silent(self) -> None:
        """Ask for no outcome."""


@pytest.fixture
def parent(request: pytest.FixtureRequest) -> pytest.Module:
    """Return this file as pytest collects it; tests can be made in it."""
    module = request.node.getparent(pytest.Module)
    assert module is not None
    return module


@pytest.fixture
def sharing(parent: pytest.Module) -> pytest.Class:
    """Return a class with tests."""
    made: pytest.Class = pytest.Class.from_parent(parent, name="Sharing")
    return made


def item(parent: pytest.Collector, test: Callable[..., Any]) -> pytest.Item:
    """Return a test as pytest collects it."""
    made: pytest.Item = pytest.Function.from_parent(parent, name=test.__name__, callobj=test)
    return made


def declaring(parent: pytest.Module, **values: Any) -> pytest.Item:
    """Return a test that declares ``values``."""

    @mipro_optimize(**values)
    def test_adder(mipro: object) -> None:
        raise AssertionError(mipro)

    return item(parent, test_adder)


class TestDeclared:
    def test_a_declaration_is_checked_and_loaded(self, parent: pytest.Module) -> None:
        """The check returns the values, the options, the dataset and the folder."""
        declared = check(declaring(parent, **WHOLE, **SMALL, name="adder"))
        assert declared.values == {**WHOLE, **SMALL, "name": "adder"}
        assert declared.options == Options.declare(**SMALL)
        assert declared.dataset is DATASET
        assert declared.folder == parent.path.parent

    def test_everything_can_be_left_out(self, parent: pytest.Module) -> None:
        """An empty declaration has default options and no dataset."""
        declared = check(declaring(parent))
        assert (declared.values, declared.options, declared.dataset) == ({}, Options(), None)

    def test_a_dataset_is_read_beside_the_test(self, parent: pytest.Module, tmp_path: Path) -> None:
        """The check reads files and splits them as declared."""
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(f'{{"q": {i}, "a": 0, "part": "test"}}\n' for i in range(3)))
        rows = {"dataset": path, "inputs": ["q"], "split": "part"}
        with pytest.raises(DatasetError, match="train split is empty"):
            check(declaring(parent, **{**WHOLE, **rows}))
        splits = {"train": [{"q": 1, "a": 0}], "val": [{"q": 2, "a": 0}], "test": path}
        rows = {"dataset": splits, "inputs": ["q"]}
        with pytest.raises(DatasetError, match="share"):
            check(declaring(parent, **{**WHOLE, **rows}))
        splits["train"], splits["val"] = [{"q": 7, "a": 0}], [{"q": 8, "a": 0}]
        dataset = check(declaring(parent, **{**WHOLE, **rows})).dataset
        assert dataset is not None
        assert [example.q for example in dataset.test] == [0, 1, 2]

    def test_a_fixtures_dataset_is_checked_like_a_declared_one(self, parent: pytest.Module) -> None:
        """A dataset from a fixture needs the declared cluster field, too."""
        declared = check(declaring(parent, cluster="document"))
        with pytest.raises(DatasetError, match="cluster='document'"):
            declared.load(DATASET)
        assert check(declaring(parent, cluster="answer")).load(DATASET) is DATASET

    def test_the_closest_marker_wins(self, sharing: pytest.Class) -> None:
        """A class declares what its tests share; a test overrides one thing."""
        declared = check(item(sharing, Sharing.test_overriding))
        assert declared.values == {**WHOLE, "name": "of the test", "seed": 1}

    def test_a_declaration_belongs_to_the_test_without_its_parameters(
        self, parent: pytest.Module
    ) -> None:
        """The node id of a declaration leaves out the parameters."""

        def test_adder(mipro: object) -> None:
            raise AssertionError(mipro)

        node = pytest.Function.from_parent(
            parent, name="test_adder[1]", callobj=test_adder, originalname="test_adder"
        )
        assert declaring_test(node) == f"{parent.nodeid}::test_adder"


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown argument": ({"num_trails": 3}, r"no argument 'num_trails'; did you mean 'num_trials'"),
    "argument like no other": (
        {"zzz": 3},
        r"no argument 'zzz'; expected one of program, metric, ",
    ),
    "metric not callable": ({"metric": "exact"}, r"metric='exact' is not callable; expected a"),
    "metric of one argument": (
        {"metric": lambda example: 1},
        r"<lambda> cannot be called with an example and a prediction: it takes \(example\), ",
    ),
    "adapter no instance": ({"adapter": dspy.JSONAdapter}, r"adapter=JSONAdapter is not a dspy"),
    "program no module": ({"program": 3}, r"program=3 is not a dspy\.Module"),
    "program class no module": ({"program": dict}, r"program=dict is not a dspy\.Module"),
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
    "inputs not marked": ({"dataset": [dspy.Example(a=1)]}, r"which of its fields.*inputs="),
    "cluster missing": (
        {"cluster": "document"},
        r"cluster='document': test\[0\] has no value in that field; it has .*'question'",
    ),
    "single cluster": (
        {"cluster": "answer", "dataset": {"train": TRAIN, "val": VAL, "test": sums(20, 1)}},
        r"cluster='answer': all 1 held-out examples are in one cluster, '43'",
    ),
    "cluster no name": ({"cluster": 3}, r"cluster=3: expected the name of a field"),
    "repeat no number": ({"repeat": True}, r"repeat=True: expected a whole number of at least 1"),
    "budget no budget": ({"budget": {"x": 1}}, r"budget=\{'x': 1\}: expected pytest_mipro\.Budget"),
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
            check(declaring(parent, **{**WHOLE, **values}))

    def test_a_budget_is_none_of_them(self, parent: pytest.Module) -> None:
        """The check keeps the budget for the task."""
        budget = Budget(lm_calls=3)
        assert check(declaring(parent, **WHOLE, budget=budget)).values["budget"] is budget

    def test_positional_arguments_are_refused(self, parent: pytest.Module) -> None:
        """Only keywords say what an argument is."""

        @DECLARED(Adder)
        def test_adder(mipro: object) -> None:
            raise AssertionError(mipro)

        with pytest.raises(DeclarationError, match=r"keyword arguments only, got <class .*Adder"):
            check(item(parent, test_adder))

    def test_a_marked_test_that_asks_for_nothing_is_refused(self, parent: pytest.Module) -> None:
        """A marked test needs the fixture ``mipro``, or ``request``."""

        @DECLARED(**WHOLE)
        def test_silent() -> None:
            pass

        @DECLARED(**WHOLE)
        def test_late(request: pytest.FixtureRequest) -> None:
            raise AssertionError(request)

        with pytest.raises(DeclarationError, match="does not request its outcome"):
            check(item(parent, test_silent))
        assert check(item(parent, test_late)).dataset is DATASET

    def test_a_class_may_have_tests_that_need_no_outcome(self, sharing: pytest.Class) -> None:
        """A class may mark tests that do not need the outcome."""
        assert check(item(sharing, Sharing.test_silent)).dataset is DATASET

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine
from sessions import COMMAND, ROWS, Checkout, grown, instructed, nearly_right, unchanged, with_demos

from pytest_mipro.errors import DamagedReference

if TYPE_CHECKING:
    from pathlib import Path

    import dspy

    from pytest_mipro.task import Task

WORSE = ScriptedEngine(base=0, per_demo=0)


def history(checkout: Checkout) -> dict[str, Any]:
    """Return the content of the history file."""
    data: dict[str, Any] = json.loads(checkout.location().history.read_text(encoding="utf-8"))
    return data


def instructed_otherwise(task: Task) -> dspy.Module:
    """Return the task's program with demos and another instruction."""
    program = with_demos(task)
    instructed(program, "Add again.")  # type: ignore[arg-type]
    return program


def test_the_first_acceptance_begins_a_history(accepted: Checkout) -> None:
    """It has the anchor's scores, the acceptance and the look."""
    data = history(accepted)
    (identity,) = data["acceptances"]
    assert data["acceptances"] == {identity: 1.0}
    assert (data["first"], data["anchor"]["acceptance"]) == (identity, identity)
    assert set(data["anchor"]["scores"].values()) == {1.0}
    (look,) = data["looks"].values()
    assert (look["kind"], look["number"], look["seed"]) == ("run", 1, 9)


def test_an_equal_program_does_not_move_the_anchor(accepted: Checkout) -> None:
    """Acceptances are counted, and the anchor's lines in the file stay."""
    earlier = history(accepted)
    accepted.recorder.optimizer = instructed_otherwise
    accepted.outcome(accepted.task(seed=7), update=True)
    later = history(accepted)
    assert len(later["acceptances"]) == 2
    assert (later["anchor"], later["first"]) == (earlier["anchor"], earlier["first"])
    assert sorted(look["number"] for look in later["looks"].values()) == [1, 2]


def test_a_better_program_is_the_new_anchor(checkout: Checkout) -> None:
    """The bar rises by itself where more than luck is shown, and a line says so."""
    checkout.recorder.optimizer = unchanged
    checkout.outcome(checkout.task(dataset=grown(2)), update=True)
    checkout.recorder.optimizer = with_demos
    checkout.recorder.lines.clear()
    checkout.outcome(checkout.task(dataset=grown(2), seed=7), update=True)
    data = history(checkout)
    assert set(data["anchor"]["scores"].values()) == {1.0}
    assert data["anchor"]["acceptance"] != data["first"]
    line = "mipro: test_adder: shown to be better, it is the new anchor: 0.000 to 1.000"
    assert checkout.recorder.lines[-1] == line


def test_an_update_that_changes_nothing_writes_nothing(accepted: Checkout) -> None:
    """A second acceptance of the same outcome leaves all files as they are."""
    files = accepted.references
    assert accepted.acceptance().change == "unchanged"
    assert accepted.references == files


def test_a_sampled_program_keeps_its_accepted_scores(accepted: Checkout, tmp_path: Path) -> None:
    """Accepting it again elsewhere is no second draw; ``--mipro-rescore`` asks for one."""
    elsewhere = accepted.copied_to(tmp_path / "elsewhere", "__mipro__")
    elsewhere.recorder.optimizer = with_demos
    elsewhere.acceptance()
    files = elsewhere.references
    elsewhere.store.unlink()
    elsewhere.model.drift_to(WORSE)
    assert elsewhere.acceptance().change == "unchanged"
    assert elsewhere.references["test_adder.json"] == files["test_adder.json"]
    assert elsewhere.acceptance(rescore=True).change == "changed"
    assert set(history(elsewhere)["acceptances"].values()) == {1.0, 0.0}


def test_a_history_without_a_reference_goes_on(accepted: Checkout) -> None:
    """To delete the reference does not forget the anchor."""
    accepted.location().scores.unlink()
    accepted.location().program.unlink()
    accepted.recorder.optimizer = unchanged
    task = accepted.task(seed=7)
    accepted.outcome(task, update=True)
    assert set(history(accepted)["anchor"]["scores"].values()) == {1.0}
    assert accepted.outcome(task).no_regression().word == "FAIL"


def test_a_conflict_keeps_the_history(accepted: Checkout) -> None:
    """Accepting the merged code replaces the reference and not the anchor."""
    for path in (accepted.location().scores, accepted.location().program):
        path.write_text("<<<<<<< HEAD\n", encoding="utf-8")
    accepted.recorder.optimizer = unchanged
    assert accepted.acceptance(accepted.task(seed=7)).change == "replaced"
    assert set(history(accepted)["anchor"]["scores"].values()) == {1.0}


def test_a_missing_history_needs_a_new_anchor(accepted: Checkout) -> None:
    """An update alone is no way to forget what was accepted."""
    accepted.location().history.unlink()
    policies: list[dict[str, bool]] = [{}, {"frozen": True}, {"update": True}]
    for policy in policies:
        with pytest.raises(DamagedReference, match=r"history\.json is missing") as caught:
            accepted.outcome(None, **policy)
        assert str(caught.value).endswith(f"{COMMAND} --mipro-new-anchor")
    accepted.outcome(update=True, new_anchor=True)
    assert accepted.outcome().no_regression()


def test_a_budget_keeps_the_rows_of_the_acceptance(checkout: Checkout) -> None:
    """An acceptance asks for no more rows than any other run."""
    checkout.recorder.optimizer = with_demos
    checkout.outcome(checkout.task(metric=nearly_right), update=True)
    assert checkout.calls == ROWS

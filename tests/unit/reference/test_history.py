from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.canonical import digest
from pytest_mipro.errors import DamagedReference
from pytest_mipro.records import Look, Usage
from pytest_mipro.reference.content import Reference
from pytest_mipro.reference.history import (
    Anchor,
    History,
    LedgerEntry,
    entry_of,
    first_history,
    read_history,
    united_looks,
    write_history,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_mipro.reference.location import ReferenceLocation

COMMAND = "pytest --mipro --mipro-update test_x.py::test_x"
PARTS = {"metric": "12"}
REFERENCE = Reference(
    test="test_x",
    key=digest(PARTS),
    parts=PARTS,
    metric="56",
    baseline={"a": 0.0, "b": 0.0},
    compiled={"a": 1.0, "b": 0.5},
    usage=dict.fromkeys(("compile", "baseline", "compiled"), Usage()),
    model="scripted",
    adapter="ChatAdapter",
    rendering="",
    versions={},
    state={"add": {"demos": [], "signature": {"instructions": "Add."}}},
)
HISTORY = first_history(REFERENCE)
FIRST, SECOND = LedgerEntry(1, "run", 9, ("a",)), LedgerEntry(2, "rescore", 9, ("b", "c"))


def edit(location: ReferenceLocation, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply ``change`` to the data of the history."""
    data = json.loads(location.history.read_text(encoding="utf-8"))
    change(data)
    location.history.write_text(json.dumps(data), encoding="utf-8")


def scored(**scores: float) -> Reference:
    """Return a reference with other scores of the compiled program."""
    return replace(REFERENCE, compiled=scores)


def accepting(reference: Reference, history: History = HISTORY, **looks: LedgerEntry) -> History:
    """Return a history after another acceptance, with the same anchor."""
    return history.accepting(reference, history.anchor, {**history.looks, **looks})


class TestHistory:
    def test_it_begins_with_an_anchor(self) -> None:
        """The first accepted program is the anchor, and its mean is kept."""
        assert HISTORY.first == HISTORY.anchor.acceptance == REFERENCE.identity
        assert HISTORY.acceptances == {REFERENCE.identity: 0.75}
        assert HISTORY.anchor == Anchor.of(REFERENCE)
        assert (HISTORY.anchor.score, HISTORY.looks) == (0.75, {})

    def test_an_acceptance_is_added(self) -> None:
        """The anchor stays, and the same acceptance counts once."""
        reference = scored(a=0.0, b=0.5)
        history = accepting(reference, x=FIRST)
        assert history.acceptances == {REFERENCE.identity: 0.75, reference.identity: 0.25}
        assert (history.anchor, history.looks) == (HISTORY.anchor, {"x": FIRST})
        assert accepting(reference, history) == history

    def test_an_identity_is_that_of_program_and_scores(self) -> None:
        """Usage is not part of it."""
        assert replace(REFERENCE, usage={}).identity == REFERENCE.identity
        assert scored(a=1.0, b=1.0).identity != REFERENCE.identity
        assert replace(REFERENCE, state={}).identity != REFERENCE.identity

    def test_an_entry_is_of_a_look(self) -> None:
        """The ledger keeps the number, the kind, the seed and the scores."""
        scores, examples = ("b", "c"), ("a", "b")
        look = Look("key", 2, "rescore", 9, scores, "test_x.py::test_x", "set", examples)
        assert entry_of(look) == SECOND

    def test_the_union_of_two_branches(self) -> None:
        """Both sides' acceptances and looks are kept, with the better anchor."""
        better, further = scored(a=1.0, b=1.0), replace(FIRST, scores=("a", "d"))
        ours = accepting(scored(a=0.0, b=0.5), x=FIRST, y=SECOND)
        theirs = HISTORY.accepting(better, Anchor.of(better), {"x": FIRST, "z": SECOND})
        united = ours.united(theirs)
        assert united.acceptances == {**ours.acceptances, **theirs.acceptances}
        assert set(united.looks) == {"x", "y", "z"}
        assert united_looks({"x": FIRST}, {"x": further}) == {"x": further}
        assert united.anchor == theirs.united(ours).anchor == Anchor.of(better)


class TestFile:
    def test_round_trip(self, location: ReferenceLocation) -> None:
        """A history that was written is read back, sorted and with a line for each value."""
        history = accepting(scored(a=0.0, b=0.5), x=FIRST)
        write_history(location, history)
        assert read_history(location, REFERENCE, update=False) == history
        text = location.history.read_text(encoding="utf-8")
        assert text == f"{json.dumps(json.loads(text), indent=2, sort_keys=True)}\n"
        assert json.loads(text)["anchor"]["state"] == REFERENCE.state

    def test_no_file(self, location: ReferenceLocation) -> None:
        """Where nothing was accepted there is no history."""
        assert read_history(location, None, update=False) is None

    def test_it_outlives_the_other_files(self, location: ReferenceLocation) -> None:
        """To delete the reference does not forget what was accepted."""
        write_history(location, HISTORY)
        assert read_history(location, None, update=False) == HISTORY

    @pytest.mark.parametrize("update", [False, True])
    def test_a_missing_file_is_damage(self, location: ReferenceLocation, update: bool) -> None:
        """To delete the history of a reference is no way to a new anchor."""
        with pytest.raises(DamagedReference) as caught:
            read_history(location, REFERENCE, update=update)
        assert str(caught.value) == (
            "the reference __mipro__/test_x/test_x.history.json is missing; restore all of its "
            "files from version control, or start a new history with: "
            f"{COMMAND} --mipro-new-anchor"
        )

    def test_it_must_have_the_reference(self, location: ReferenceLocation) -> None:
        """An older history beside a newer reference is an error until the next acceptance."""
        write_history(location, HISTORY)
        newer = scored(a=0.0, b=0.5)
        with pytest.raises(DamagedReference, match=r"does not go with test_x\.json: one of them"):
            read_history(location, newer, update=False)
        assert read_history(location, newer, update=True) == HISTORY

    @pytest.mark.parametrize(
        "change, problem",
        [
            (lambda data: data.update(format="x"), "has format 'x' and version 1, expected"),
            (lambda data: data.update(version=2), "and version 2, expected 'pytest-mipro history'"),
            (lambda data: data.pop("anchor"), "has a wrong anchor: Field required"),
            (lambda data: data.update(first="x"), "lacks the acceptance of its anchor or the"),
            (lambda data: data["anchor"].update(acceptance="x"), "lacks the acceptance of its an"),
            (lambda data: data["anchor"].update(scores={}), "or no score of the anchor"),
            (
                lambda data: data["anchor"]["scores"].update(a=float("nan")),
                "holds a score that is no finite number",
            ),
            (
                lambda data: data["anchor"].update(state={"add": {"config": {"api_base": "x"}}}),
                "holds add = {'config': {'api_base': 'x'}}, which no anchor has",
            ),
            (
                lambda data: data.update(looks={"x": replace(FIRST, number=0).to_dict()}),
                "holds a look whose number is below 1, or one without scores",
            ),
            (
                lambda data: data.update(looks={"x": replace(FIRST, scores=()).to_dict()}),
                "holds a look whose number is below 1, or one without scores",
            ),
        ],
    )
    @pytest.mark.parametrize("update", [False, True])
    def test_damage(
        self,
        location: ReferenceLocation,
        change: Callable[[dict[str, Any]], object],
        problem: str,
        update: bool,
    ) -> None:
        """A history that cannot be used is an error, also where one is accepted anew."""
        write_history(location, HISTORY)
        edit(location, change)
        with pytest.raises(DamagedReference) as caught:
            read_history(location, REFERENCE, update=update)
        assert problem in str(caught.value)
        assert str(caught.value).endswith("--mipro-new-anchor")


def git(folder: Path, *arguments: str, check: bool = True) -> None:
    """Run a command of Git that depends on no configuration of the user."""
    settings = ("user.name=x", "user.email=x@example.org", "merge.conflictStyle=diff3")
    options = [item for setting in settings for item in ("-c", setting)]
    subprocess.run(
        ["git", *options, *arguments], cwd=folder, check=check, capture_output=True, timeout=60
    )


@pytest.fixture
def key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set a key, or the empty text of a job without secrets."""
    key = str(getattr(request, "param", "k" * 32))
    monkeypatch.setenv("MIPRO_SEAL_KEY", key)
    return key


@pytest.mark.usefixtures("key")
class TestSeal:
    def test_a_sealed_history(
        self, location: ReferenceLocation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is believed under its key, under none, and under no other."""
        write_history(location, HISTORY)
        assert read_history(location, REFERENCE, update=False) == HISTORY
        monkeypatch.delenv("MIPRO_SEAL_KEY")
        assert read_history(location, REFERENCE, update=False) == HISTORY
        monkeypatch.setenv("MIPRO_SEAL_KEY", "o" * 32)
        with pytest.raises(DamagedReference, match="has the seal of other content or keys"):
            read_history(location, REFERENCE, update=False)

    @pytest.mark.parametrize(
        "change, problem",
        [
            (lambda data: data.pop("seal"), "has no seal, .* with: .*--mipro-new-anchor"),
            (lambda data: data["anchor"]["scores"].update(a=0.0), "has the seal of other content"),
            (lambda data: data["anchor"].update(metric="78"), "has the seal of other content"),
        ],
    )
    def test_an_edited_anchor(
        self, location: ReferenceLocation, change: Callable[[dict[str, Any]], object], problem: str
    ) -> None:
        """It is an error with the next step, also where a run accepts."""
        write_history(location, HISTORY)
        edit(location, change)
        for update in (False, True):
            with pytest.raises(DamagedReference, match=problem):
                read_history(location, REFERENCE, update=update)


class TestMerge:
    @pytest.mark.usefixtures("key")
    @pytest.mark.parametrize("key", ["", "k" * 32], indirect=True, ids=["unsealed", "sealed"])
    def test_two_branches_that_accept_are_united(
        self, location: ReferenceLocation, tmp_path: Path
    ) -> None:
        """A conflict is an error until an acceptance, which keeps the entries of both branches."""
        write_history(location, accepting(scored(a=0.0, b=0.5), x=FIRST))
        git(tmp_path, "init", "-b", "main")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-m", "base")
        base = read_history(location, None, update=False)
        assert base is not None
        better = scored(a=1.0, b=1.0)
        ours = accepting(scored(a=0.5, b=0.5), base, y=SECOND)
        theirs = base.accepting(better, Anchor.of(better), {**base.looks, "z": SECOND})
        for branch, history in (("theirs", theirs), ("ours", ours)):
            git(tmp_path, "checkout", "-b", branch, "main")
            write_history(location, history)
            git(tmp_path, "commit", "-a", "-m", branch)
        git(tmp_path, "merge", "theirs", check=False)
        assert "<<<<<<<" in location.history.read_text(encoding="utf-8")
        with pytest.raises(DamagedReference, match="holds the conflict markers of a merge"):
            read_history(location, None, update=False)
        assert read_history(location, None, update=True) == ours.united(theirs)


KEYS = st.text(st.characters(codec="utf-8"), max_size=10)
SCORES = st.dictionaries(KEYS, st.floats(allow_nan=False, allow_infinity=False), max_size=3)
ENTRIES = st.builds(
    LedgerEntry,
    st.integers(1),
    st.sampled_from(["run", "rescore", "acceptance"]),
    st.integers(),
    st.tuples(KEYS, KEYS),
)
HISTORIES = st.builds(
    History,
    first=KEYS,
    acceptances=SCORES,
    anchor=st.builds(Anchor, KEYS, KEYS, SCORES, st.dictionaries(KEYS, SCORES, max_size=2)),
    looks=st.dictionaries(KEYS, ENTRIES, max_size=3),
)


@given(HISTORIES)
def test_record(history: History) -> None:
    """A history equals itself after a trip through JSON text."""
    text = json.dumps(history.to_dict(), allow_nan=False)
    assert History.from_dict(json.loads(text)) == history

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mipro.canonical import digest
from pytest_mipro.errors import DamagedReference, ReferenceFileError
from pytest_mipro.records import ExampleCost, Means, Prompt, Reference, Usage
from pytest_mipro.reference.content import VERSION, accept_reference, prompts_of, read_reference
from pytest_mipro.reference.location import ReferenceLocation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_mipro.records import Acceptance

COMMAND = "pytest --mipro --mipro-update test_x.py::test_x"
PARTS = {"metric": "12", "model": "34"}
STATE: dict[str, Any] = {
    "add": {
        "demos": [{"question": "1 + 1 \u2028 💥", "answer": 2, "augmented": True}],
        "lm": None,
        "signature": {"instructions": "Add.\nWell.", "fields": [{"prefix": "Q:"}]},
    }
}
REFERENCE = Reference(
    test="test_x",
    key=digest(PARTS),
    parts=PARTS,
    where={"metric": "test_x.py:3"},
    metric="56",
    baseline={"b": 0.0, "a": 1.0},
    compiled={"a": 1.0, "b": 0.5},
    usage={"compile": Usage(100, 2000, 300), "baseline": Usage(2), "compiled": Usage(2)},
    versions={"dspy": "3.4.1", "pytest-mipro": "0.1.0"},
    state=STATE,
)
FIELDS = {"add": ("question", "answer")}


@pytest.fixture
def place(tmp_path: Path) -> ReferenceLocation:
    """Return the place of a test in an empty folder."""
    return ReferenceLocation.beside(
        tmp_path / "test_x.py", ["test_x"], command=COMMAND, root=tmp_path
    )


def take(
    place: ReferenceLocation,
    new: Reference,
    earlier: Reference | None = None,
    *,
    replaces: bool = False,
) -> Acceptance:
    """Accept a reference."""
    return accept_reference(place, new, earlier, fields=FIELDS, replaces=replaces)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file by hand."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


BILLED = replace(
    REFERENCE,
    tokens={"baseline": {"a": 40.0}, "compiled": {"a": 90.0, "b": 95.5}},
    usd={"compiled": {"a": 0.25}},
)


class TestBills:
    def test_there_and_back(self, place: ReferenceLocation) -> None:
        """What is known is read again, and what is not stays unknown."""
        take(place, BILLED)
        found = read_reference(place)
        assert found == BILLED
        assert found.bill("compiled", "a") == ExampleCost(90.0, 0.25)
        assert found.bill("compiled", "b") == ExampleCost(95.5)
        assert found.bill("baseline", "b") is None

    def test_files_from_before_have_none(self, place: ReferenceLocation) -> None:
        """A reference without bills is whole."""
        take(place, REFERENCE)
        edit(place.scores, lambda data: [data.pop("tokens"), data.pop("usd")])
        assert read_reference(place) == REFERENCE

    def test_what_is_found_out_later_is_added(self, place: ReferenceLocation) -> None:
        """Bills alone make a reference another one."""
        take(place, REFERENCE)
        assert take(place, BILLED, REFERENCE).what == "changed"
        assert take(place, BILLED, BILLED).what == "unchanged"

    def test_what_was_known_of_the_same_answers_is_kept(self, place: ReferenceLocation) -> None:
        """Answers from a cache take nothing away from what is known."""
        take(place, BILLED)
        assert take(place, REFERENCE, BILLED).what == "unchanged"
        assert read_reference(place) == BILLED

    def test_other_answers_have_bills_of_their_own(self, place: ReferenceLocation) -> None:
        """What another program's answers took says nothing."""
        take(place, BILLED)
        take(place, replace(REFERENCE, compiled={"a": 0.0, "b": 0.5}), BILLED)
        found = read_reference(place)
        assert found is not None
        assert found.bill("compiled", "a") is None

    @pytest.mark.parametrize("amount", [-1.0, "NaN", "Infinity"])
    def test_impossible_amounts_are_damage(
        self, place: ReferenceLocation, amount: float | str
    ) -> None:
        """Nobody is paid for being asked, and what is not finite was not measured."""
        take(place, BILLED)
        edit(place.scores, lambda data: data["tokens"]["compiled"].update(a=amount))
        with pytest.raises(DamagedReference, match=place.scores.name):
            read_reference(place)


class TestFiles:
    def test_there_and_back(self, place: ReferenceLocation) -> None:
        """What was accepted is what is read."""
        take(place, REFERENCE)
        assert read_reference(place) == REFERENCE

    def test_nothing_was_accepted(self, place: ReferenceLocation) -> None:
        """Without files there is no reference, and reading makes none."""
        assert read_reference(place) is None
        assert not place.folder.parent.exists()

    def test_they_are_made_to_be_compared(self, place: ReferenceLocation) -> None:
        """Keys are sorted, each on its line, text is readable, and a line ends the file."""
        state = {"add": {**STATE["add"], "demos": []}, "Add": {"b": [{"d": 1, "c": 2}], "a": 1}}
        take(place, replace(REFERENCE, state=state))
        for path in (place.scores, place.program):
            text = path.read_bytes().decode("utf-8")
            data = json.loads(text)
            whole = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
            assert text == f"{whole}\n"

    def test_demos_keep_the_order_of_their_fields(self, place: ReferenceLocation) -> None:
        """A prompt may show a value's parts in the order they are in."""
        demo = {"question": {"b": 1, "a": [{"d": 1, "c": 2}]}, "answer": 2}
        take(place, replace(REFERENCE, state={"add": {"demos": [demo]}}))
        found = read_reference(place)
        assert found is not None
        assert json.dumps(found.state["add"]["demos"]) == json.dumps([demo])

    def test_they_can_be_read(self, place: ReferenceLocation) -> None:
        """Text is as it is, and a score has its line."""
        take(place, REFERENCE)
        assert "💥" in place.program.read_text(encoding="utf-8")
        assert '    "a": 1.0,\n    "b": 0.5\n' in place.scores.read_text(encoding="utf-8")

    def test_nothing_else_is_left(self, place: ReferenceLocation) -> None:
        """The folder holds the two files and no unfinished one."""
        take(place, REFERENCE)
        assert sorted(place.folder.iterdir()) == [place.scores, place.program]

    def test_the_program_is_what_dspy_saves(self, place: ReferenceLocation) -> None:
        """The state by predictor, and the version DSPy compares when it loads."""
        take(place, REFERENCE)
        program = json.loads(place.program.read_text(encoding="utf-8"))
        assert program == {**STATE, "metadata": {"dependency_versions": {"dspy": "3.4.1"}}}

    def test_a_lone_surrogate_survives(self, place: ReferenceLocation) -> None:
        """A model may write what UTF-8 cannot spell."""
        state = {"add": {"signature": {"instructions": "\ud800"}}}
        take(place, replace(REFERENCE, state=state))
        found = read_reference(place)
        assert found is not None
        assert found.state == state

    def test_line_endings_of_another_system(self, place: ReferenceLocation) -> None:
        """Git may write them on checkout."""
        take(place, REFERENCE)
        for path in (place.scores, place.program):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert read_reference(place) == REFERENCE

    def test_a_folder_that_cannot_be_made(self, place: ReferenceLocation, tmp_path: Path) -> None:
        """The error names the file and what to do."""
        (tmp_path / "__mipro__").write_text("")
        with pytest.raises(ReferenceFileError, match=r"__mipro__/test_x.*cannot be written.*-u"):
            take(place, REFERENCE)

    def test_a_death_while_writing_leaves_the_old_file(
        self, place: ReferenceLocation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file is written whole, beside, before it takes the old one's place."""
        take(place, REFERENCE)

        def die(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            take(place, replace(REFERENCE, state={}, baseline={"c": 0.0}), REFERENCE)
        assert read_reference(place) == REFERENCE
        assert len(list(place.folder.iterdir())) == 2


class TestAcceptance:
    def test_the_first(self, place: ReferenceLocation) -> None:
        """It says the files, the scores and the prompts, demos with their inputs first."""
        taken = take(place, REFERENCE)
        assert taken.what == "first"
        assert taken.files == (
            "__mipro__/test_x/test_x.json",
            "__mipro__/test_x/test_x.program.json",
        )
        assert (taken.before, taken.after) == (None, Means(2, 0.5, 0.75))
        (prompt,) = taken.prompts_after
        assert prompt == Prompt("add", "Add.\nWell.", (STATE["add"]["demos"][0],))
        assert list(prompt.demos[0]) == ["question", "answer", "augmented"]

    @pytest.mark.parametrize(
        "same",
        [
            {},
            {"where": {"metric": "test_x.py:99"}},
            {"usage": dict.fromkeys(("compile", "baseline", "compiled"), Usage())},
            {"versions": {"pytest-mipro": "9.9"}},
        ],
    )
    def test_unchanged_files_are_not_written(
        self, place: ReferenceLocation, same: dict[str, Any]
    ) -> None:
        """Where code moved to, what it took and which version accepted it is no content."""
        take(place, REFERENCE)
        before = place.scores.stat().st_mtime_ns, place.scores.read_bytes()
        assert take(place, replace(REFERENCE, **same), REFERENCE).what == "unchanged"
        assert (place.scores.stat().st_mtime_ns, place.scores.read_bytes()) == before

    @pytest.mark.parametrize(
        "other",
        [
            {"parts": {"metric": "99"}, "key": digest({"metric": "99"})},
            {"metric": "99"},
            {"baseline": {"a": 0.0, "b": 0.0}},
            {"compiled": {"a": 0.0, "b": 0.5}},
            {"state": {"add": {"signature": {"instructions": "Other."}}}},
        ],
    )
    def test_changed_content_is_written(
        self, place: ReferenceLocation, other: dict[str, Any]
    ) -> None:
        """Each part of the content counts."""
        take(place, REFERENCE)
        new = replace(REFERENCE, **other)
        assert take(place, new, REFERENCE).what == "changed"
        assert read_reference(place) == new

    def test_it_counts_what_became_of_the_examples(self, place: ReferenceLocation) -> None:
        """By compiled score: changed, added, removed."""
        take(place, REFERENCE)
        scores = {"b": 1.0, "c": 1.0, "d": 0.0}
        taken = take(place, replace(REFERENCE, baseline=scores, compiled=scores), REFERENCE)
        assert (taken.changed, taken.added, taken.removed) == (1, 2, 1)
        assert taken.before == Means(2, 0.5, 0.75)
        assert not taken.rescored
        assert take(place, replace(REFERENCE, metric="99"), REFERENCE).rescored

    def test_in_place_of_damaged_files(self, place: ReferenceLocation) -> None:
        """It says that there was something else."""
        assert take(place, REFERENCE, replaces=True).what == "replaced"


class TestPredictors:
    def test_a_program_that_is_a_predictor(self) -> None:
        """DSPy leaves its name out of the state."""
        (prompt,) = prompts_of(STATE["add"], {"self": ("question",)})
        assert prompt == Prompt("self", "Add.\nWell.", (STATE["add"]["demos"][0],))

    def test_a_predictor_called_signature(self) -> None:
        """It is not taken for the program's own."""
        (prompt,) = prompts_of({"signature": STATE["add"]}, {})
        assert prompt.predictor == "signature"

    def test_what_is_no_predictor(self) -> None:
        """Other state is left alone."""
        assert prompts_of({"metadata": {}, "count": 3, "names": []}, {}) == ()


class TestDamage:
    @pytest.mark.parametrize("which", ["scores", "program"])
    @pytest.mark.parametrize(
        "content,problem",
        [
            (b"", "is not JSON"),
            (b'{"version": 1,', "is not JSON"),
            (b"[" * 100_000, "is not JSON"),
            (b"[]", "expected a JSON object"),
            (b"\xff\xfe", "is not UTF-8"),
        ],
    )
    def test_files_that_cannot_be_read(
        self, place: ReferenceLocation, which: str, content: bytes, problem: str
    ) -> None:
        """The error names the file, the problem and both ways out."""
        take(place, REFERENCE)
        path: Path = getattr(place, which)
        path.write_bytes(content)
        with pytest.raises(DamagedReference) as error:
            read_reference(place)
        message = str(error.value)
        assert message.startswith(f"the reference __mipro__/test_x/{path.name} ")
        assert problem in message
        assert "version control" in message
        assert COMMAND in message

    @pytest.mark.parametrize("which", ["scores", "program"])
    def test_conflict_markers_have_their_own_hint(
        self, place: ReferenceLocation, which: str
    ) -> None:
        """The error says how a merge is finished."""
        take(place, REFERENCE)
        path: Path = getattr(place, which)
        lines = path.read_text(encoding="utf-8").splitlines()
        merged = [lines[0], "<<<<<<< HEAD", *lines[1:3], "=======", ">>>>>>> branch", *lines[3:]]
        path.write_text("\n".join(merged), encoding="utf-8")
        with pytest.raises(DamagedReference, match=r"conflict.*git checkout --ours.*-update"):
            read_reference(place)

    @pytest.mark.parametrize("which", ["scores", "program"])
    def test_half_a_reference(self, place: ReferenceLocation, which: str) -> None:
        """One file without the other is named."""
        take(place, REFERENCE)
        gone: Path = getattr(place, which)
        gone.unlink()
        with pytest.raises(DamagedReference, match=rf"without its other half, {gone.name}"):
            read_reference(place)

    @pytest.mark.parametrize(
        "change,problem",
        [
            (lambda data: data.pop("key"), "wrong key"),
            (lambda data: data.update(compiled={"a": "good"}), r"wrong compiled\.a"),
            (lambda data: data.update(compiled=[1.0]), "wrong compiled"),
            (lambda data: data["compiled"].pop("a"), "the same examples"),
            (lambda data: data.update(compiled={}, baseline={}), "the same examples"),
            (lambda data: data["compiled"].update(a=float("nan")), "no finite number"),
            (lambda data: data["parts"].update(metric="99"), "key that its parts do not have"),
            (lambda data: data.update(version="one"), "version 'one'"),
            (lambda data: data.update(version=0), "version 0"),
        ],
    )
    def test_edited_scores(
        self, place: ReferenceLocation, change: Callable[[dict[str, Any]], object], problem: str
    ) -> None:
        """The error says what is wrong with the content."""
        take(place, REFERENCE)
        edit(place.scores, change)
        with pytest.raises(DamagedReference, match=problem):
            read_reference(place)

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data["add"]["signature"].update(instructions="Better!"),
            lambda data: data.pop("add"),
            lambda data: data["add"].update(temperature=float("nan")),
        ],
    )
    def test_an_edited_program(
        self, place: ReferenceLocation, change: Callable[[dict[str, Any]], object]
    ) -> None:
        """Scores of another program are no scores of this one."""
        take(place, REFERENCE)
        edit(place.program, change)
        with pytest.raises(DamagedReference, match=r"does not go with test_x\.json"):
            read_reference(place)


class TestForeignFiles:
    def test_something_else(self, place: ReferenceLocation) -> None:
        """A file that is not ours is not ours to replace."""
        take(place, REFERENCE)
        edit(place.scores, lambda data: data.update(format="snapshot"))
        with pytest.raises(
            ReferenceFileError, match=r"'snapshot', expected.*move it away"
        ) as error:
            read_reference(place)
        assert not isinstance(error.value, DamagedReference)

    def test_a_newer_one(self, place: ReferenceLocation) -> None:
        """What a newer version wrote is neither read nor replaced."""
        take(place, REFERENCE)
        edit(place.scores, lambda data: data.update(version=VERSION + 1, key=None))
        with pytest.raises(ReferenceFileError, match=r"newer pytest-mipro.*upgrade") as error:
            read_reference(place)
        assert not isinstance(error.value, DamagedReference)

    def test_a_newer_one_without_its_program(self, place: ReferenceLocation) -> None:
        """It is not taken for damage, which could be replaced."""
        take(place, REFERENCE)
        place.program.write_text("{")
        edit(place.scores, lambda data: data.update(version=VERSION + 1))
        with pytest.raises(ReferenceFileError, match=r"newer pytest-mipro"):
            read_reference(place)

    def test_a_folder(self, place: ReferenceLocation) -> None:
        """What cannot be opened is named."""
        place.scores.mkdir(parents=True)
        with pytest.raises(ReferenceFileError, match=r"test_x\.json cannot be read"):
            read_reference(place)

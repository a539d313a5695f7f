from __future__ import annotations

import json
import os
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mipro.canonical import digest
from pytest_mipro.errors import DamagedReference, ReferenceFileError
from pytest_mipro.records import MOST_SCORE, ExampleCost, Means, Prompt, Usage
from pytest_mipro.reference.content import (
    VERSION,
    Reference,
    SinceAnchor,
    accept_reference,
    prompts_of,
    read_reference,
)
from pytest_mipro.reference.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_mipro.records import Acceptance
    from pytest_mipro.reference.location import ReferenceLocation

COMMAND = "pytest --mipro --mipro-update test_x.py::test_x"
PARTS = {"metric": "12", "model": "34"}
STATE: dict[str, Any] = {
    "add": {
        "demos": [{"question": "1 + 1 \u2028 💥", "answer": 2, "augmented": True}],
        "lm": None,
        "signature": {
            "instructions": "Add.\nWell.",
            "fields": [{"prefix": "Q:", "description": ""}],
        },
    }
}
SINCE = SinceAnchor("abc", (-0.25, 0.125))
REFERENCE = Reference(
    test="test_x",
    key=digest(PARTS),
    parts=PARTS,
    metric="56",
    baseline={"b": 0.0, "a": 1.0},
    compiled={"a": 1.0, "b": 0.5},
    usage={"compile": Usage(100, 2000, 300), "baseline": Usage(2), "compiled": Usage(2)},
    model="scripted",
    adapter="ChatAdapter",
    rendering="",
    versions={"dspy": "3.4.1", "pytest-mipro": "0.1.0"},
    state=STATE,
    since_anchor=SINCE,
)
FIELDS = {"add": ("question", "answer")}


def accept(
    location: ReferenceLocation,
    new: Reference,
    earlier: Reference | None = None,
    *,
    replaces: bool = False,
) -> Acceptance:
    """Accept a reference with the fields of its demos."""
    return accept_reference(location, new, earlier, fields=FIELDS, replaces=replaces)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file as a user may."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def refuses_edited_scores(
    location: ReferenceLocation, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    """Check that edited scores are an error that names the problem."""
    accept(location, REFERENCE)
    edit(location.scores, change)
    with pytest.raises(DamagedReference, match=problem):
        read_reference(location)


WITH_COSTS = replace(
    REFERENCE,
    tokens={"baseline": {"a": 40.0}, "compiled": {"a": 90.0, "b": 95.5}},
    usd={"compiled": {"a": 0.25}},
)


class TestCosts:
    def test_round_trip(self, location: ReferenceLocation) -> None:
        """Known costs are read back, and unknown ones are None."""
        accept(location, WITH_COSTS)
        reference = read_reference(location)
        assert reference == WITH_COSTS
        assert reference.cost_of("compiled", "a") == ExampleCost(90.0, 0.25)
        assert reference.cost_of("compiled", "b") == ExampleCost(95.5)
        assert reference.cost_of("baseline", "b") is None

    def test_files_without_costs(self, location: ReferenceLocation) -> None:
        """Files without costs hold a complete reference."""
        accept(location, REFERENCE)
        edit(location.scores, lambda data: [data.pop("tokens"), data.pop("usd")])
        assert read_reference(location) == REFERENCE

    def test_new_costs_are_written(self, location: ReferenceLocation) -> None:
        """A reference with more costs replaces one with the same scores."""
        accept(location, REFERENCE)
        assert accept(location, WITH_COSTS, REFERENCE).change == "changed"
        assert accept(location, WITH_COSTS, WITH_COSTS).change == "unchanged"

    def test_costs_of_the_same_answers_survive(self, location: ReferenceLocation) -> None:
        """Answers without costs, as from a cache, do not remove the costs in the files."""
        accept(location, WITH_COSTS)
        assert accept(location, REFERENCE, WITH_COSTS).change == "unchanged"
        assert read_reference(location) == WITH_COSTS

    def test_costs_of_different_answers_are_dropped(self, location: ReferenceLocation) -> None:
        """The costs of another program's answers are not carried over."""
        accept(location, WITH_COSTS)
        accept(location, replace(REFERENCE, compiled={"a": 0.0, "b": 0.5}), WITH_COSTS)
        reference = read_reference(location)
        assert reference is not None
        assert reference.cost_of("compiled", "a") is None

    @pytest.mark.parametrize("amount", [-1.0, "NaN", "Infinity"])
    def test_impossible_amounts_are_damage(
        self, location: ReferenceLocation, amount: float | str
    ) -> None:
        """A cost that is negative or not finite is damage."""
        accept(location, WITH_COSTS)
        edit(location.scores, lambda data: data["tokens"]["compiled"].update(a=amount))
        with pytest.raises(DamagedReference, match=location.scores.name):
            read_reference(location)


class TestFiles:
    def test_round_trip(self, location: ReferenceLocation) -> None:
        """A reference that was accepted is read back."""
        accept(location, REFERENCE)
        assert read_reference(location) == REFERENCE

    def test_no_files(self, location: ReferenceLocation) -> None:
        """Reading a location without files returns None and creates no folder."""
        assert read_reference(location) is None
        assert not location.folder.parent.exists()

    def test_they_can_be_compared(self, location: ReferenceLocation) -> None:
        """Keys are sorted, one per line, text is not escaped, and a newline ends the file."""
        state = {"add": {**STATE["add"], "demos": []}, "Add": {"b": [{"d": 1, "c": 2}], "a": 1}}
        accept(location, replace(REFERENCE, state=state))
        for path in (location.scores, location.program):
            text = path.read_bytes().decode("utf-8")
            data = json.loads(text)
            expected = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
            assert text == f"{expected}\n"

    def test_demos_keep_the_order_of_their_fields(self, location: ReferenceLocation) -> None:
        """The keys of a demo's values stay in their order, which a prompt may show."""
        demo = {"question": {"b": 1, "a": [{"d": 1, "c": 2}]}, "answer": 2}
        accept(
            location,
            replace(REFERENCE, state={"add": {"signature": {"instructions": ""}, "demos": [demo]}}),
        )
        reference = read_reference(location)
        assert reference is not None
        assert json.dumps(reference.state["add"]["demos"]) == json.dumps([demo])

    def test_they_can_be_read(self, location: ReferenceLocation) -> None:
        """Text is not escaped, and each score has its line."""
        accept(location, REFERENCE)
        assert "💥" in location.program.read_text(encoding="utf-8")
        assert '    "a": 1.0,\n    "b": 0.5\n' in location.scores.read_text(encoding="utf-8")

    def test_no_temporary_file_is_left(self, location: ReferenceLocation) -> None:
        """The folder holds the two files and nothing else."""
        accept(location, REFERENCE)
        assert sorted(location.folder.iterdir()) == [location.scores, location.program]

    def test_the_program_is_what_dspy_saves(self, location: ReferenceLocation) -> None:
        """The file holds the state by predictor, and the version that DSPy compares on load."""
        accept(location, REFERENCE)
        program = json.loads(location.program.read_text(encoding="utf-8"))
        assert program == {**STATE, "metadata": {"dependency_versions": {"dspy": "3.4.1"}}}

    def test_a_lone_surrogate_survives(self, location: ReferenceLocation) -> None:
        """A lone surrogate, which UTF-8 cannot encode, is read back where no model is sent it."""
        state = {"add": {"signature": {"instructions": "Add."}, "train": ["\ud800"]}}
        accept(location, replace(REFERENCE, state=state))
        reference = read_reference(location)
        assert reference is not None
        assert reference.state == state

    @pytest.mark.parametrize(
        "predictor, part",
        [
            ({"signature": {"instructions": "a\ud83d"}}, "add.signature.instructions"),
            ({"demos": [{}, {"answer": {"a": ["\udc00"]}}]}, r"add.demos\[1\].answer.a\[0\]"),
            ({"demos": [{"\ud83d": 1}]}, r"the name of add.demos\[0\].\?"),
            (
                {
                    "signature": {
                        "instructions": "",
                        "fields": [{"prefix": "\ud83d", "description": ""}],
                    }
                },
                r"add.signature.fields\[0\].prefix",
            ),
        ],
        ids=["instruction", "demo", "name", "field"],
    )
    def test_half_of_a_character_in_a_prompt(
        self, location: ReferenceLocation, predictor: dict[str, Any], part: str
    ) -> None:
        """It is an error of the file, not of the model that would refuse it."""
        state = {"add": {"signature": {"instructions": "Add."}, **predictor}}
        accept(location, replace(REFERENCE, state=state))
        problem = rf"test_x.program.json has one half of a character .* in {part};"
        with pytest.raises(DamagedReference, match=problem):
            read_reference(location)

    def test_line_endings_of_windows(self, location: ReferenceLocation) -> None:
        """Files with the line endings of a checkout on Windows are read."""
        accept(location, REFERENCE)
        for path in (location.scores, location.program):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert read_reference(location) == REFERENCE

    def test_a_folder_that_cannot_be_created(
        self, location: ReferenceLocation, tmp_path: Path
    ) -> None:
        """The error names the file and the next step."""
        (tmp_path / "__mipro__").write_text("")
        with pytest.raises(ReferenceFileError, match=r"__mipro__/test_x.*cannot be written.*-u"):
            accept(location, REFERENCE)

    def test_an_interrupted_write_leaves_the_old_file(
        self, location: ReferenceLocation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file is replaced only by a complete one."""
        accept(location, REFERENCE)

        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            accept(location, replace(REFERENCE, state={}, baseline={"c": 0.0}), REFERENCE)
        assert read_reference(location) == REFERENCE
        assert len(list(location.folder.iterdir())) == 2


class TestAcceptance:
    def test_the_first(self, location: ReferenceLocation) -> None:
        """The first acceptance has files, means and prompts, with the inputs of demos first."""
        acceptance = accept(location, REFERENCE)
        assert acceptance.change == "first"
        assert acceptance.files == (
            "__mipro__/test_x/test_x.json",
            "__mipro__/test_x/test_x.program.json",
        )
        assert (acceptance.previous, acceptance.current) == (None, Means(2, 0.5, 0.75))
        (prompt,) = acceptance.prompts_after
        assert prompt == Prompt("add", "Add.\nWell.", (STATE["add"]["demos"][0],), ("Q: ",))
        assert list(prompt.demos[0]) == ["question", "answer", "augmented"]

    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"usage": dict.fromkeys(("compile", "baseline", "compiled"), Usage())},
            {"versions": {"pytest-mipro": "9.9"}},
            {"since_anchor": SinceAnchor("def", ())},
        ],
    )
    def test_unchanged_files_are_not_written(
        self, location: ReferenceLocation, values: dict[str, Any]
    ) -> None:
        """Usage and versions alone do not replace the files."""
        accept(location, REFERENCE)
        unchanged = location.scores.stat().st_mtime_ns, location.scores.read_bytes()
        assert accept(location, replace(REFERENCE, **values), REFERENCE).change == "unchanged"
        assert (location.scores.stat().st_mtime_ns, location.scores.read_bytes()) == unchanged

    @pytest.mark.parametrize(
        "values",
        [
            {"parts": {"metric": "99"}, "key": digest({"metric": "99"})},
            {"metric": "99"},
            {"baseline": {"a": 0.0, "b": 0.0}},
            {"compiled": {"a": 0.0, "b": 0.5}},
            {"state": {"add": {"signature": {"instructions": "Other."}}}},
        ],
    )
    def test_changed_content_is_written(
        self, location: ReferenceLocation, values: dict[str, Any]
    ) -> None:
        """Each part of the content replaces the files if it changes."""
        accept(location, REFERENCE)
        new = replace(REFERENCE, **values)
        assert accept(location, new, REFERENCE).change == "changed"
        assert read_reference(location) == new

    def test_examples_are_counted_by_their_change(self, location: ReferenceLocation) -> None:
        """Examples are counted as changed, added or removed by their compiled scores."""
        accept(location, REFERENCE)
        scores = {"b": 1.0, "c": 1.0, "d": 0.0}
        acceptance = accept(
            location, replace(REFERENCE, baseline=scores, compiled=scores), REFERENCE
        )
        assert (acceptance.changed, acceptance.added, acceptance.removed) == (1, 2, 1)
        assert acceptance.previous == Means(2, 0.5, 0.75)
        assert not acceptance.rescored
        assert accept(location, replace(REFERENCE, metric="99"), REFERENCE).rescored

    def test_in_place_of_damaged_files(self, location: ReferenceLocation) -> None:
        """Accepting in place of damaged files is called a replacement."""
        assert accept(location, REFERENCE, replaces=True).change == "replaced"


KEY = st.text(st.characters(codec="utf-8"), max_size=10)
SCORES = st.dictionaries(KEY, st.floats(-MOST_SCORE, MOST_SCORE), max_size=3)
AMOUNTS = st.dictionaries(KEY, st.floats(allow_nan=False, allow_infinity=False), max_size=3)
TEXTS = st.dictionaries(KEY, KEY, max_size=3)
BY_PROGRAM = st.dictionaries(st.sampled_from(["baseline", "compiled"]), AMOUNTS)
USAGE = st.builds(Usage, st.integers(0), st.integers(0), st.integers(0))
REFERENCES = st.builds(
    Reference,
    test=KEY,
    key=KEY,
    parts=TEXTS,
    metric=KEY,
    baseline=SCORES,
    compiled=SCORES,
    usage=st.dictionaries(st.sampled_from(["compile", "baseline", "compiled"]), USAGE),
    model=KEY,
    adapter=KEY,
    rendering=KEY,
    versions=TEXTS,
    state=st.dictionaries(KEY, AMOUNTS | TEXTS, max_size=3),
    since_anchor=st.builds(
        SinceAnchor, KEY, st.lists(st.floats(-MOST_SCORE, MOST_SCORE), max_size=3).map(tuple)
    ),
    tokens=BY_PROGRAM,
    usd=BY_PROGRAM,
)


@given(REFERENCES)
def test_record(reference: Reference) -> None:
    """A reference equals itself after a trip through JSON text."""
    text = json.dumps(reference.to_dict(), allow_nan=False)
    assert Reference.from_dict(json.loads(text)) == reference


class TestPredictors:
    def test_a_program_that_is_a_predictor(self) -> None:
        """A state without the predictor's name, as DSPy dumps it, has the name self."""
        (prompt,) = prompts_of(STATE["add"], {"self": ("question",)})
        assert prompt == Prompt("self", "Add.\nWell.", (STATE["add"]["demos"][0],), ("Q: ",))

    def test_a_predictor_called_signature(self) -> None:
        """A predictor that is called signature is not the program's own signature."""
        (prompt,) = prompts_of({"signature": STATE["add"]}, {})
        assert prompt.predictor == "signature"

    def test_state_beside_predictors(self) -> None:
        """State that is not a predictor has no prompt."""
        assert prompts_of({"metadata": {}, "count": 3, "names": []}, {}) == ()


@pytest.fixture
def sealing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a key."""
    monkeypatch.setenv("MIPRO_SEAL_KEY", "k" * 32)


@pytest.mark.usefixtures("sealing")
class TestSeal:
    def test_a_sealed_reference(
        self, location: ReferenceLocation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is believed under its key, under none, and under no other."""
        accept(location, REFERENCE)
        assert read_reference(location) == REFERENCE
        monkeypatch.delenv("MIPRO_SEAL_KEY")
        assert read_reference(location) == REFERENCE
        monkeypatch.setenv("MIPRO_SEAL_KEY", "o" * 32)
        with pytest.raises(DamagedReference, match="has the seal of other content or keys"):
            read_reference(location)

    @pytest.mark.parametrize(
        "change, problem",
        [
            (lambda data: data.pop("seal"), "has no seal, .* accept it where the same key is set"),
            (lambda data: data["compiled"].update(a=0.75), "has the seal of other content"),
            (
                lambda data: data["since_anchor"].update(differences=[0.5]),
                "has the seal of other content",
            ),
            (lambda data: data.update(seal="\ud800"), "has the seal of other content"),
            (lambda data: data.update(seal=None), "has the seal of other content"),
        ],
    )
    def test_edited_scores(
        self, location: ReferenceLocation, change: Callable[[dict[str, Any]], object], problem: str
    ) -> None:
        """They are an error with the next step."""
        refuses_edited_scores(location, change, problem)

    def test_an_exchanged_program(self, location: ReferenceLocation) -> None:
        """The seal is on the program, too."""
        accept(location, REFERENCE)
        state = {"add": {**STATE["add"], "demos": []}}
        edit(location.program, lambda data: data.update(state))
        edit(location.scores, lambda data: data.update(program=digest(state)))
        with pytest.raises(DamagedReference, match="has the seal of other content"):
            read_reference(location)

    def test_an_unsealed_reference_can_be_accepted(
        self, location: ReferenceLocation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An update seals what had no seal."""
        with monkeypatch.context() as context:
            context.delenv("MIPRO_SEAL_KEY")
            accept(location, REFERENCE)
        accept_reference(location, REFERENCE, None, fields={}, replaces=True)
        assert read_reference(location) == REFERENCE


class TestLinks:
    @pytest.mark.parametrize("levels", [0, 1])
    def test_a_folder_that_is_a_link(self, location: ReferenceLocation, levels: int) -> None:
        """Nothing is written through it."""
        folder = [location.folder, location.folder.parent][levels]
        target = folder.parent / "target"
        target.mkdir(parents=True)
        folder.symlink_to(target)
        with pytest.raises(ReferenceFileError, match=r"is a link to .*put a folder"):
            accept(location, REFERENCE)
        assert not [path for path in target.rglob("*") if path.is_file()]

    def test_files_that_are_links(self, location: ReferenceLocation) -> None:
        """They are replaced, and what they led to stays."""
        target = location.folder / "target"
        location.folder.mkdir(parents=True)
        target.write_text("mine")
        unfinished = location.folder / f".{location.program.name}.{os.getpid()}.tmp"
        for link in (location.program, unfinished):
            link.symlink_to(target)
        accept(location, REFERENCE)
        assert target.read_text() == "mine"
        assert not location.program.is_symlink()

    @pytest.mark.parametrize("name", ["scores", "program", "history"])
    def test_links_are_not_read(self, location: ReferenceLocation, name: str) -> None:
        """They may lead to a file of the user, or to a device without an end."""
        accept(location, REFERENCE)
        path: Path = getattr(location, name)
        path.unlink(missing_ok=True)
        path.symlink_to(os.devnull)
        with pytest.raises(ReferenceFileError, match=r"is a link to .*put a file"):
            read_text(location, path)


class TestForeignContent:
    def test_a_program_with_a_part_missing(self, location: ReferenceLocation) -> None:
        """DSPy could not load it."""
        accept(location, REFERENCE)
        state = deepcopy(STATE)
        del state["add"]["signature"]["instructions"]
        location.program.write_text(json.dumps(state))
        with pytest.raises(DamagedReference, match=r"is without add\.signature\.instructions"):
            read_reference(location)

    def test_what_would_redirect_calls(self, location: ReferenceLocation) -> None:
        """An address is refused with the file and its key, and the files stay."""
        accept(location, REFERENCE)
        foreign = {"config": {"api_base": "http://other"}}
        state = {"add": {**STATE["add"], **foreign}}
        edit(location.program, lambda data: data["add"].update(foreign))
        edit(location.scores, lambda data: data.update(program=digest(state)))
        content = location.program.read_bytes()
        problem = r"test_x\.program\.json holds add\.config = \{'api_base': 'http://other'\}"
        with pytest.raises(DamagedReference, match=problem):
            read_reference(location)
        assert location.program.read_bytes() == content


class TestDamage:
    @pytest.mark.parametrize("half", ["scores", "program"])
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
        self, location: ReferenceLocation, half: str, content: bytes, problem: str
    ) -> None:
        """The error names the file, the problem and both next steps."""
        accept(location, REFERENCE)
        path: Path = getattr(location, half)
        path.write_bytes(content)
        with pytest.raises(DamagedReference) as error:
            read_reference(location)
        message = str(error.value)
        assert message.startswith(f"the reference __mipro__/test_x/{path.name} ")
        assert problem in message
        assert "version control" in message
        assert COMMAND in message

    @pytest.mark.parametrize("half", ["scores", "program"])
    def test_conflict_markers(self, location: ReferenceLocation, half: str) -> None:
        """The error says how to resolve the conflict."""
        accept(location, REFERENCE)
        path: Path = getattr(location, half)
        lines = path.read_text(encoding="utf-8").splitlines()
        merged = [lines[0], "<<<<<<< HEAD", *lines[1:3], "=======", ">>>>>>> branch", *lines[3:]]
        path.write_text("\n".join(merged), encoding="utf-8")
        with pytest.raises(DamagedReference, match=r"conflict.*git checkout --ours.*-update"):
            read_reference(location)

    @pytest.mark.parametrize("half", ["scores", "program"])
    def test_half_a_reference(self, location: ReferenceLocation, half: str) -> None:
        """The error names the file that is missing."""
        accept(location, REFERENCE)
        missing: Path = getattr(location, half)
        missing.unlink()
        with pytest.raises(DamagedReference, match=rf"without its other half, {missing.name}"):
            read_reference(location)

    @pytest.mark.parametrize(
        "change,problem",
        [
            (lambda data: data.pop("key"), "wrong key"),
            (lambda data: data.update(compiled={"a": "good"}), r"wrong compiled\.a"),
            (lambda data: data.update(compiled=[1.0]), "wrong compiled"),
            (lambda data: data["compiled"].pop("a"), "the same examples"),
            (lambda data: data.update(compiled={}, baseline={}), "the same examples"),
            (lambda data: data["compiled"].update(a=float("nan")), r"wrong compiled\.a"),
            (lambda data: data["baseline"].update(a=-1e308), r"wrong baseline\.a"),
            (lambda data: data.pop("since_anchor"), "wrong since_anchor: Field required"),
            (lambda data: data["since_anchor"].pop("anchor"), r"wrong since_anchor\.anchor"),
            (lambda data: data.update(since_anchor=[0.5]), "wrong since_anchor"),
            (
                lambda data: data["since_anchor"].update(differences=[0.0, float("nan")]),
                r"wrong since_anchor\.differences\.1",
            ),
            (
                lambda data: data["since_anchor"].update(differences=[1e308]),
                r"wrong since_anchor\.differences\.0",
            ),
            (lambda data: data["parts"].update(metric="99"), "key that its parts do not have"),
            (lambda data: data.update(version="one"), "version 'one'"),
            (lambda data: data.update(version=0), "version 0"),
        ],
    )
    def test_edited_scores(
        self, location: ReferenceLocation, change: Callable[[dict[str, Any]], object], problem: str
    ) -> None:
        """The error names the problem in the content."""
        refuses_edited_scores(location, change, problem)

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data["add"]["signature"].update(instructions="Better!"),
            lambda data: data.pop("add"),
            lambda data: data["add"].update(train=[float("nan")]),
        ],
    )
    def test_an_edited_program(
        self, location: ReferenceLocation, change: Callable[[dict[str, Any]], object]
    ) -> None:
        """The error says that the scores belong to another program."""
        accept(location, REFERENCE)
        edit(location.program, change)
        with pytest.raises(DamagedReference, match=r"does not go with test_x\.json"):
            read_reference(location)


class TestForeignFiles:
    def test_another_format(self, location: ReferenceLocation) -> None:
        """A file of another format is not called damaged, so that it is not replaced."""
        accept(location, REFERENCE)
        edit(location.scores, lambda data: data.update(format="snapshot"))
        with pytest.raises(ReferenceFileError, match=r"'snapshot', expected.*move it") as error:
            read_reference(location)
        assert not isinstance(error.value, DamagedReference)

    def test_a_newer_version(self, location: ReferenceLocation) -> None:
        """A file of a newer version is neither read nor replaced."""
        accept(location, REFERENCE)
        edit(location.scores, lambda data: data.update(version=VERSION + 1, key=None))
        with pytest.raises(ReferenceFileError, match=r"newer pytest-mipro.*upgrade") as error:
            read_reference(location)
        assert not isinstance(error.value, DamagedReference)

    def test_a_newer_version_with_a_damaged_program(self, location: ReferenceLocation) -> None:
        """The version is checked before the program is read."""
        accept(location, REFERENCE)
        location.program.write_text("{")
        edit(location.scores, lambda data: data.update(version=VERSION + 1))
        with pytest.raises(ReferenceFileError, match=r"newer pytest-mipro"):
            read_reference(location)

    def test_a_folder(self, location: ReferenceLocation) -> None:
        """The error names a path that cannot be opened."""
        location.scores.mkdir(parents=True)
        with pytest.raises(ReferenceFileError, match=r"test_x\.json cannot be read"):
            read_reference(location)

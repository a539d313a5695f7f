from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fingerprints import assert_changes, evaluation_key, simple_task

from pytest_mipro.fingerprint import metric_key, task_fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")

HEAD = (
    "import io, os, pathlib\nfrom pathlib import Path\nHERE = Path(__file__).parent\n"
    "PROMPT = HERE / 'words.txt'\nNAME = str(PROMPT)\nclass Files:\n    prompt = PROMPT\n"
)
METRIC = f"{HEAD}def metric(e, p, trace=None):\n    return "
READING = {
    "a global path": "PROMPT.read_text()",
    "bytes": "PROMPT.read_bytes()",
    "a path beside the file": "(Path(__file__).parent / 'words.txt').read_text()",
    "a path of a module": "pathlib.Path(__file__).resolve().with_name('words.txt').read_text()",
    "a joined path": "HERE.joinpath('words.txt').read_text(encoding='utf-8')",
    "open": "open(PROMPT).read()",
    "open with a mode": "open(NAME, 'rb').read()",
    "open with a mode by keyword": "io.open(NAME, mode='r').read()",
    "open of a path": "PROMPT.open().read()",
    "texts": "open(os.path.join(os.path.dirname(__file__), 'words.txt')).read()",
    "a variable": "[path := 1] and inner()",
    "an attribute of a class": "Files.prompt.read_text()",
    "a closure": "held()",
    "a relative path": "open('words.txt').read()",
}
FUNCTIONS = (
    "def inner():\n    folder = Path(__file__).parent\n    path = folder / 'words.txt'\n"
    "    with open(path) as file:\n        return file.read()\n"
    "def make(path):\n    return lambda: path.read_text()\nheld = make(PROMPT)\n"
)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file beside the first version of the code, in the working directory."""
    folder = tmp_path / "version 1"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder / "words.txt"


@pytest.mark.parametrize("expression", READING.values(), ids=READING)
def test_file_that_is_read_is_part_of_the_keys(load: Load, words: Path, expression: str) -> None:
    """A prompt in a file beside the code counts by its content."""
    words.write_text("good", encoding="utf-8")
    code = METRIC.replace("def metric", f"{FUNCTIONS}def metric")
    task = simple_task(load({"user_code.py": f"{code}{expression}\n"}).metric)
    original, key = task_fingerprint(task), evaluation_key(task)
    words.write_text("bad", encoding="utf-8")

    assert_changes(original, task_fingerprint(task), "file words.txt changed")
    assert evaluation_key(task) != key


@pytest.mark.parametrize(
    "opening", ["self.path.read_text()", "open(self.path.parent / NAME).read()"]
)
@pytest.mark.parametrize("base", ["dspy.Module", "object"])
def test_file_of_an_attribute_is_part_of_the_keys(
    load: Load, words: Path, base: str, opening: str
) -> None:
    """A program or an object that it has may be given the path."""
    words.write_text("good", encoding="utf-8")
    code = (
        f"import dspy\n{HEAD}class Reader({base}):\n    def __init__(self, path):\n"
        "        super().__init__()\n        self.path = path\n"
        f"    def forward(self, question):\n        return {opening}\n"
        "class Program(dspy.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.say = dspy.Predict('question -> answer')\n"
        "        self.reader = Reader(PROMPT)\n"
        "    def forward(self, question):\n        return self.reader.forward(question)\n"
    )
    task = simple_task(len, load({"user_code.py": code}).Program())
    original, key = task_fingerprint(task), evaluation_key(task)
    words.write_text("bad", encoding="utf-8")

    assert_changes(original, task_fingerprint(task), "file words.txt changed")
    assert evaluation_key(task) != key


def test_line_endings_of_a_checkout_change_no_key(load: Load, words: Path) -> None:
    """Git writes those of Windows there."""
    words.write_bytes(b"a\nb\n")
    metric = load({"user_code.py": f"{METRIC}PROMPT.read_text()\n"}).metric
    key = metric_key(metric)
    words.write_bytes(b"a\r\nb\r\n")

    assert metric_key(metric) == key


def test_large_file_counts_by_its_size(
    load: Load, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it for each key would take too long."""
    monkeypatch.setattr("pytest_mipro.fingerprint.files_read._LARGE", 3)
    keys = []
    for text in ("good", "evil", "better"):
        words.write_text(text, encoding="utf-8")
        keys.append(metric_key(load({"user_code.py": f"{METRIC}PROMPT.read_text()\n"}).metric))
        words = words.parent.with_name(f"version {len(keys) + 1}") / words.name
        words.parent.mkdir(exist_ok=True)

    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "name, expression",
    [
        ("words.txt", "open(PROMPT, 'w')"),
        ("words.txt", "PROMPT.open('a')"),
        ("words.txt", "open(PROMPT, e.mode)"),
        ("words.txt", "PROMPT.write_text('x')"),
        ("words.txt", "open(e.path).read()"),
        ("words.txt", "e.path.read_text()"),
        ("words.txt", "open().read()"),
        ("words.txt", "open('a\\0b').read()"),
        ("words.txt", "HERE.read_text()"),
        ("words.txt", "PROMPT.parent.parent.parent.parent.read_text()"),
        (".cache", "(HERE / '.cache').read_text()"),
    ],
)
def test_other_file_changes_no_key(load: Load, words: Path, name: str, expression: str) -> None:
    """It is written, its path is computed, or it is most likely a cache."""
    words.with_name(name).write_text("good", encoding="utf-8")
    metric = load({"user_code.py": f"{METRIC}{expression}\n"}).metric
    key = metric_key(metric)
    words.with_name(name).write_text("bad", encoding="utf-8")

    assert metric_key(metric) == key


def test_declared_version_stands_for_the_files(load: Load, words: Path) -> None:
    """It is the way out for a file that code changes as it runs."""
    words.write_text("good", encoding="utf-8")
    metric: Any = load({"user_code.py": f"{METRIC}PROMPT.read_text()\n"}).metric
    key = metric_key(metric, "1")
    words.write_text("bad", encoding="utf-8")

    assert metric_key(metric, "1") == key != metric_key(metric, "2")


def test_variable_that_leads_to_itself_has_no_path(load: Load, words: Path) -> None:
    """Nothing is known of it."""
    words.write_text("good", encoding="utf-8")
    code = "def metric(e, p, trace=None):\n    path = path / 'a'\n    return path.read_text()\n"
    assert metric_key(load({"user_code.py": code}).metric)

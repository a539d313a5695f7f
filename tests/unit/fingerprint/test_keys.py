from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import dspy
import fingerprints
import pytest
from alterations import ALTERATIONS, FIELDS, INDEPENDENT
from fingerprints import (
    all_keys,
    assert_changes,
    changes_between,
    evaluation_key,
    loading,
    predictions_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from key_scenarios import PRINT_KEYS, SCENARIOS
from routing_project import EDITS, EVALUATE, NEITHER, PROJECT, RECOMPILE, Edit
from scripted import ScriptedEngine
from ticket_project import FILES

from pytest_mipro import MIPROv2, fingerprint
from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import metric_key, prompts_key, task_fingerprint
from pytest_mipro.store import Store
from pytest_mipro.task import OPTION_NAMES, Options, Task, example_digest

if TYPE_CHECKING:
    from dspy import lm15
    from fingerprints import Load

    from pytest_mipro.fingerprint import Fingerprint


def load_task(load: Load, project: str) -> Task:
    """Return the task of a version of the routing project."""
    task: Task = load({"routing.py": project}).task()
    return task


def held_out_keys(task: Task) -> set[str]:
    """Return the keys of the baseline's held-out rows."""
    prompts = prompts_key(task.program)
    return {
        f"{evaluation_key(task)}/{prompts}/{example_digest(example)}"
        for example in task.dataset.test
    }


@dataclass(frozen=True)
class RoutingKeys:
    """The keys of the task of the routing project."""

    fingerprint: Fingerprint
    held_out: set[str]
    predictions: str
    metric: str

    @classmethod
    def of(cls, task: Task) -> RoutingKeys:
        """Return the keys of a version of the project."""
        with fingerprint.described_once():
            return cls(
                task_fingerprint(task),
                held_out_keys(task),
                predictions_key(task),
                metric_key(task.metric),
            )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RoutingKeys:
    """Return the keys of the routing project before any edit."""
    with loading(tmp_path_factory.mktemp("original")) as load:
        return RoutingKeys.of(load_task(load, PROJECT))


@pytest.mark.parametrize("edit, expected", EDITS.values(), ids=EDITS)
def test_consequences_of_an_edit(
    original: RoutingKeys, load: Load, edit: Edit, expected: tuple[str, ...]
) -> None:
    """An edit leads to a compile for its reasons, to held-out rows to evaluate, or to nothing."""
    edited = RoutingKeys.of(load_task(load, edit.apply()))
    current = edited.fingerprint
    missing = len(edited.held_out - original.held_out)

    if current.key != original.fingerprint.key:
        assert (RECOMPILE, *current.changes_since(original.fingerprint.parts)) == expected
    else:
        assert ((EVALUATE, f"{missing} missing") if missing else (NEITHER,)) == expected


@pytest.mark.parametrize(
    "package, expected",
    [
        ("dspy", (RECOMPILE, "DSPy version changed")),
        ("optuna", (RECOMPILE, "Optuna version changed")),
        ("numpy", (NEITHER,)),
    ],
)
def test_consequences_of_an_upgrade(
    load: Load, monkeypatch: pytest.MonkeyPatch, package: str, expected: tuple[str, ...]
) -> None:
    """Another version of DSPy or Optuna leads to a compile, one of DSPy to held-out rows, too."""
    task = load_task(load, PROJECT)
    original, stored = task_fingerprint(task), held_out_keys(task)

    monkeypatch.setattr(
        fingerprint.keys, "version", lambda name: "99" if name == package else version(name)
    )

    changes = task_fingerprint(task).changes_since(original.parts)
    assert ((RECOMPILE, *changes) if changes else (NEITHER,)) == expected
    assert (held_out_keys(task) != stored) is (package == "dspy")


@pytest.mark.parametrize(
    "old, new",
    [
        ("graded(1)", "graded(object())"),
        ("metric.bonus = 1\n", "metric.bonus = 1\n    weight = (n for n in range(3))\n"),
        ("slack=0.25", "slack=object()"),
        ('"top_p": 0.5', '"top_p": object()'),
    ],
    ids=["closure", "generator", "default argument", "Predict.config"],
)
def test_value_without_content_needs_a_version(load: Load, old: str, new: str) -> None:
    """The error says which value cannot be hashed, and version= is the next step."""
    project = Edit(old, new).apply()

    with pytest.raises(FingerprintError, match=r"cannot be hashed.*declare version="):
        task_fingerprint(load_task(load, project))
    assert task_fingerprint(load_task(load, project.replace("threads=8", 'version="1"'))).key


@pytest.mark.parametrize(
    "name, same",
    [
        ("metric body", True),
        ("metric closure value", True),
        ("metric default argument", True),
        ("test label corrected", True),
        ("seed", True),
        ("demo", True),
        ("prompt model", True),
        ("api key", True),
        ("module source", False),
        ("helper function", False),
        ("tool source", False),
        ("model", False),
        ("temperature", False),
        ("endpoint", False),
        ("adapter", False),
    ],
)
def test_key_of_predictions(original: RoutingKeys, load: Load, name: str, same: bool) -> None:
    """Code, model and adapter change the key that predictions share; the metric does not."""
    edit, _ = EDITS[name]

    key = predictions_key(load_task(load, edit.apply()))

    assert (key == original.predictions) is same


@pytest.mark.parametrize(
    "name, same",
    [
        ("metric body", False),
        ("metric closure value", False),
        ("metric attribute", False),
        ("metric constant", False),
        ("metric constant in another order", True),
        ("module source", True),
        ("model", True),
        ("test label corrected", True),
    ],
)
def test_key_of_a_metric(original: RoutingKeys, load: Load, name: str, same: bool) -> None:
    """The metric's code and the values that it uses change its key, and nothing else does."""
    edit, _ = EDITS[name]

    key = metric_key(load_task(load, edit.apply()).metric)

    assert (key == original.metric) is same


OPTIONS = {
    "auto": "medium",
    "num_candidates": 3,
    "num_trials": 7,
    "max_bootstrapped_demos": 1,
    "max_labeled_demos": 0,
    "seed": 0,
    "init_temperature": 0.5,
    "metric_threshold": 0.0,
    "minibatch": False,
    "minibatch_size": 10,
    "view_data_batch_size": 5,
    "program_aware_proposer": False,
    "data_aware_proposer": False,
    "tip_aware_proposer": False,
    "fewshot_aware_proposer": False,
    "rounds": 0,
}


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_options_are_parts_of_the_key(unedited: Fingerprint, load: Load, name: str) -> None:
    """A changed option is one change, named after the option."""
    task = load(FILES).task()

    current = task_fingerprint(replace(task, options=Options.checked(**{name: OPTIONS[name]})))

    assert_changes(unedited, current, f"option {name} changed")


def test_all_options_are_in_the_table() -> None:
    """A new option needs a value above that is not its default."""
    assert set(OPTIONS) == {option.name for option in fields(Options)}


def test_teacher_is_part_of_the_key(load: Load) -> None:
    """The parts of a teacher are those of a program, with the teacher as their owner."""
    task = load(FILES).task()
    teacher = type(task.program)()
    original = task_fingerprint(replace(task, teacher=teacher))
    teacher.classify.demos = [dspy.Example(ticket="Hello?", queue="sales")]

    current = task_fingerprint(replace(task, teacher=teacher))

    assert "teacher instruction of classify added" in changes_between(
        task_fingerprint(task), original
    )
    assert_changes(original, current, "teacher demos of classify changed")


def test_algorithm_version_is_part_of_the_key(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of the search changes the key."""
    task = load(FILES).task()
    original = task_fingerprint(task)

    monkeypatch.setattr(fingerprint.keys, "ALGORITHM", fingerprint.keys.ALGORITHM + 1)

    assert_changes(original, task_fingerprint(task), "algorithm version changed")


def test_extra_parts_are_parts_of_the_key(load: Load) -> None:
    """A part that a plugin adds is named by the plugin."""
    task = load(FILES).task()
    plain = task_fingerprint(task)
    first, second = (task_fingerprint(task, {"prompt library": {"version": n}}) for n in (1, 2))

    assert_changes(plain, first, "prompt library added")
    assert_changes(first, second, "prompt library changed")
    assert_changes(first, plain, "prompt library removed")


@pytest.mark.parametrize("name", ["metric", "code of user_code.clean", "train row 1", "a/b"])
def test_extra_part_replaces_no_part(unedited: Fingerprint, load: Load, name: str) -> None:
    """An extra part with the words of another part is a part of its own."""
    current = task_fingerprint(load(FILES).task(), {name: 1})

    assert current.changes_since(unedited.parts) == (f"{name} added",)
    assert len(current.parts) == len(unedited.parts) + 1


def test_extra_part_without_a_json_form_is_refused(load: Load) -> None:
    """The error names the part and the hook that adds it."""
    with pytest.raises(FingerprintError, match=r"'index' that pytest_mipro_fingerprint adds"):
        task_fingerprint(load(FILES).task(), {"index": object()})


@pytest.fixture(scope="module")
def keys_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return the scenarios' keys in another process, folder and hash seed, with other API keys."""
    folder = tmp_path_factory.mktemp("else where")
    files = {**FILES, "routing.py": PROJECT, "scenarios.py": SCENARIOS, "print_keys.py": PRINT_KEYS}
    for name, text in files.items():
        path = folder / name
        path.write_text(text.replace('"sk-one"', '"sk-two"'), encoding="utf-8")
        os.utime(path, (4242, 4242))
    process = subprocess.run(
        [sys.executable, "print_keys.py", "4242", str(Path(fingerprints.__file__).parent)],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    keys: dict[str, list[str]] = json.loads(process.stdout)
    return keys


@pytest.mark.parametrize("name", re.findall(r'^    "([\w\' .]+)": ', SCENARIOS, re.MULTILINE))
def test_keys_are_the_same_in_another_process(
    load: Load, keys_elsewhere: dict[str, list[str]], name: str
) -> None:
    """Hash seed, addresses, process, folder, file times and API keys are no parts of a key."""
    scenarios = load({**FILES, "routing.py": PROJECT, "scenarios.py": SCENARIOS}).SCENARIOS

    keys = all_keys(scenarios[name]())

    assert all(re.fullmatch(r"[0-9a-f]{32}", key) for key in keys)
    assert keys == keys_elsewhere[name]


def test_each_field_of_a_task_has_alterations() -> None:
    """No field can be added to a task without saying whether it decides the result."""
    assert FIELDS.keys() == {field.name for field in fields(Task)}
    assert {name for names in (*FIELDS.values(), *INDEPENDENT) for name in names} <= {*ALTERATIONS}


def test_each_parameter_of_a_model_has_alterations() -> None:
    """No parameter can be added to DSPy's models without saying whether it decides the answer."""
    parameters = inspect.signature(dspy.LM.__init__).parameters.keys()

    assert parameters - {"self", "kwargs"} <= MODEL_PARAMETERS


MODEL_PARAMETERS = {
    *("model", "model_type", "temperature", "max_tokens", "use_developer_role"),
    *("engine", "async_engine", "rollout_id"),  # in the tests of models
    *("cache", "callbacks", "num_retries", "prompt_cache"),
    *("finetuning_model", "launch_kwargs", "provider", "train_kwargs"),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_key_changes_if_and_only_if_the_result_can(
    unedited: Fingerprint, load: Load, data: st.DataObject
) -> None:
    """Of several alterations at once, those that decide the result have words, and no others."""
    names = [data.draw(st.sampled_from(("nothing", *names))) for names in INDEPENDENT]
    declared = load(FILES)
    task = declared.task()

    for name in names:
        task = ALTERATIONS[name][1](task, declared)

    expected = [words for name in names for words in ALTERATIONS[name][0]]
    assert_changes(unedited, task_fingerprint(task), *expected)


EVALUATION = {
    "nothing": False,
    "instruction": False,
    "demo": False,
    "train row added": False,
    "test row added": False,
    "prompt model": False,
    "api key": False,
    "attribute of the program": True,
    "model": True,
    "max_tokens": True,
    "adapter": True,
    "adapter attribute": True,
    "version": True,
}


@pytest.mark.parametrize("name, changes", EVALUATION.items())
def test_evaluation_key(load: Load, name: str, changes: bool) -> None:
    """Code, metric, model and adapter change the key that rows share; prompts do not."""
    declared = load(FILES)
    _, alter = ALTERATIONS[name]

    altered = alter(declared.task(), declared)

    assert (evaluation_key(altered) != evaluation_key(declared.task())) is changes


class CountingEngine(ScriptedEngine):
    """Counts the task model's calls by their prompts."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: Counter[str] = Counter()

    def complete(self, request: lm15.Request) -> lm15.Response:
        if "proposed_instruction" not in (request.messages[-1].text or ""):
            self.prompts[repr((request.system, request.messages))] += 1
        return super().complete(request)


def sums(count: int, first: int) -> list[dspy.Example]:
    """Return ``count`` sums with their answers."""
    return [
        dspy.Example(question=f"{n} + {n * 7 % 13}", answer=f"{n + n * 7 % 13}").with_inputs(
            "question"
        )
        for n in range(first, first + count)
    ]


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    """Return whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def compile_with(store: Store, num_trials: int, seed: int) -> tuple[Counter[str], str]:
    """Compile a small program; return the calls by prompt, and the compiled program's state."""
    engine = CountingEngine()
    lm = dspy.LM("scripted", engine=engine, cache=False)
    optimizer = MIPROv2(
        metric=exact,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=4,
        num_threads=4,
        seed=seed,
        store=store,
    )
    compiled = optimizer.compile(
        dspy.Predict("question -> answer"),
        trainset=sums(6, 0),
        valset=sums(12, 100),
        num_trials=num_trials,
        minibatch_size=8,
        program_aware_proposer=False,
    )
    return engine.prompts, json.dumps(compiled.dump_state(), sort_keys=True)


@pytest.mark.parametrize("seed", [0, 1])
def test_more_trials_continue_the_search(seed: int) -> None:
    """After 5 trials in the store, 10 repeat no call, and have the result of 10 without them."""
    shared, alone = Store.in_memory(), Store.in_memory()

    first, _ = compile_with(shared, 5, seed)
    second, continued_state = compile_with(shared, 10, seed)
    uninterrupted, state = compile_with(alone, 10, seed)
    shared.close()
    alone.close()

    assert (first + second).most_common(1)[0][1] == 1
    assert second.keys() == uninterrupted.keys() - first.keys()
    assert continued_state == state
    assert second

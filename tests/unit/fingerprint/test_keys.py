from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import dspy
import pytest
from scripted import ScriptedEngine

from pytest_mipro import MIPROv2, fingerprint
from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import of_answers, of_evaluation, of_metric, of_prompts, of_task
from pytest_mipro.store import Store
from pytest_mipro.task import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dspy import lm15

    from pytest_mipro.task import Task

# --- What a change leads to ----------------------------------------------------------------

PROJECT = '''\
"""Routes tickets."""

from pathlib import Path
from typing import Literal

import dspy

from pytest_mipro.task import Dataset
from pytest_mipro.task import Options, Task

LIMIT = 200
RULES = {"invoice": "billing", "price": "sales"}
HERE = str(Path(__file__).parent)


class Route(dspy.Signature):
    """Route the ticket."""

    ticket: str = dspy.InputField(desc="what they wrote")
    team: Literal["billing", "sales"] = dspy.OutputField(desc="who answers")


class Router(dspy.Module):
    def __init__(self):
        super().__init__()
        self.route = dspy.Predict(Route)
        self.agent = dspy.ReAct("ticket -> customer", tools=[look_up])
        self.customers = Path(__file__).with_name("customers.txt")

    def forward(self, ticket):
        # Most tickets are short.
        return self.route(ticket=clean(ticket))


def look_up(name: str) -> str:
    """Find a customer."""
    return name.title()


def clean(text):
    return text.strip()[:LIMIT].removeprefix(HERE)


def graded(weight):
    def metric(example, prediction, trace=None, slack=0.25):
        if prediction.team not in RULES.values():
            return 0
        return weight * (example.team == prediction.team) + slack * metric.bonus

    metric.bonus = 1
    return metric


def unused():
    return 1


def rows(*tickets):
    examples = [dspy.Example(ticket=text, team=team) for text, team in tickets]
    return tuple(example.with_inputs("ticket") for example in examples)


TRAIN = rows(("Invoice?", "billing"), ("Where is my refund?", "billing"), ("What price?", "sales"))
VAL = rows(("Pay twice?", "billing"), ("A discount?", "sales"), ("Volume?", "sales"))
TEST = rows(("Tax?", "billing"), ("Offer?", "sales"), ("Demo?", "sales"))


def task():
    program = Router()
    program.route.demos = [dspy.Example(ticket="Hello", team="sales")]
    program.route.config = {"top_p": 0.5, "stop": ["end"]}
    lm = dspy.LM(
        "openai/gpt-one",
        temperature=0.2,
        api_base="https://one.example/v1",
        api_key="sk-one",
        timeout=30,
    )
    return Task(
        name="router",
        test="test_router.py::test_router",
        program=program,
        metric=graded(1),
        dataset=Dataset(TRAIN, VAL, TEST),
        lm=lm,
        prompt_lm=dspy.LM("openai/gpt-writer"),
        adapter=dspy.ChatAdapter(),
        options=Options(auto=None, num_candidates=3, num_trials=8, seed=1),
        threads=8,
    )
'''


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Task]]:
    """Give a function that writes a version of the project, each in a folder, and imports it."""
    count = 0

    def declared(text: str) -> Task:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "routing.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop("routing", None)
        task: Task = importlib.import_module("routing").task()
        return task

    yield declared
    sys.modules.pop("routing", None)


def edited(old: str, new: str) -> str:
    """Return the project after one edit."""
    assert PROJECT.count(old) == 1, f"{old!r} is not in the project exactly once"
    return PROJECT.replace(old, new)


def held_out(task: Task) -> set[str]:
    """Return what the held-out rows of the program as it came are stored under."""
    shared = of_evaluation(task.program, task.metric, task.lm, task.adapter, task.version)
    prompts = of_prompts(task.program)
    return {f"{shared}/{prompts}/{identity(example)}" for example in task.dataset.test}


def led_to(load: Callable[[str], Task], change: Change) -> tuple[str, ...]:
    """Return what has to be done for the project's task after a change, and why."""
    task = load(PROJECT)
    known, stored = of_task(task), held_out(task)
    task = load(edited(change.old, change.new))
    found = of_task(task)
    if found.key != known.key:
        return (RECOMPILE, *found.changes_since(known.parts))
    missing = len(held_out(task) - stored)
    return (EVALUATE, f"{missing} missing") if missing else (NEITHER,)


@dataclass(frozen=True)
class Change:
    """One edit of the project."""

    old: str
    new: str


RECOMPILE, EVALUATE, NEITHER = "recompile", "re-evaluate", "neither"
CHANGES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "instruction": (
        Change("Route the ticket.", "Route it."),
        (RECOMPILE, "instruction of route changed (routing.py:16)"),
    ),
    "field type": (
        Change('Literal["billing", "sales"]', 'Literal["billing", "sales", "legal"]'),
        (RECOMPILE, "fields of route changed (routing.py:16)"),
    ),
    "field description": (
        Change("who answers", "who replies"),
        (RECOMPILE, "fields of route changed (routing.py:16)"),
    ),
    "field renamed": (
        Change("team: Literal", "group: Literal"),
        (RECOMPILE, "fields of route changed (routing.py:16)"),
    ),
    "demo": (
        Change('ticket="Hello", team="sales"', 'ticket="Hello", team="billing"'),
        (RECOMPILE, "demos of route changed"),
    ),
    "fields of a demo in another order": (
        Change('ticket="Hello", team="sales"', 'team="sales", ticket="Hello"'),
        (NEITHER,),
    ),
    "Predict.config": (
        Change('"top_p": 0.5', '"top_p": 0.6'),
        (RECOMPILE, "config of route changed"),
    ),
    "Predict.config in another order": (
        Change('"top_p": 0.5, "stop": ["end"]', '"stop": ["end"], "top_p": 0.5'),
        (NEITHER,),
    ),
    "module source": (
        Change("ticket=clean(ticket))", 'ticket=clean(ticket) + ".")'),
        (RECOMPILE, "code of routing.Router changed (routing.py:23)"),
    ),
    "helper function": (
        Change("text.strip()", "text.lstrip()"),
        (RECOMPILE, "code of routing.clean changed (routing.py:40)"),
    ),
    "constant of a helper function": (
        Change("LIMIT = 200", "LIMIT = 300"),
        (RECOMPILE, "value of LIMIT in routing.clean changed"),
    ),
    "tool source": (
        Change("name.title()", "name.upper()"),
        (RECOMPILE, "code of routing.look_up changed (routing.py:35)"),
    ),
    "metric body": (
        Change("            return 0\n", "            return 0.5\n"),
        (RECOMPILE, "metric changed (routing.py:45)"),
    ),
    "metric closure value": (
        Change("graded(1)", "graded(2)"),
        (RECOMPILE, "value of weight in metric changed"),
    ),
    "metric default argument": (
        Change("slack=0.25", "slack=0.5"),
        (RECOMPILE, "metric changed (routing.py:45)"),
    ),
    "metric attribute": (
        Change("metric.bonus = 1", "metric.bonus = 2"),
        (RECOMPILE, "value of metric.bonus in metric changed"),
    ),
    "metric constant": (
        Change('"price": "sales"', '"cost": "sales"'),
        (RECOMPILE, "value of RULES in metric changed"),
    ),
    "metric constant in another order": (
        Change('"invoice": "billing", "price": "sales"', '"price": "sales", "invoice": "billing"'),
        (NEITHER,),
    ),
    "train row added": (
        Change("TRAIN = rows(", 'TRAIN = rows(("New?", "sales"), '),
        (RECOMPILE, "1 train row added", "3 train rows moved"),
    ),
    "train row removed": (
        Change(', ("What price?", "sales")', ""),
        (RECOMPILE, "1 train row removed"),
    ),
    "train label corrected": (
        Change('("What price?", "sales")', '("What price?", "billing")'),
        (RECOMPILE, "1 train row added", "1 train row removed"),
    ),
    "train rows in another order": (
        Change(
            '("Invoice?", "billing"), ("Where is my refund?", "billing")',
            '("Where is my refund?", "billing"), ("Invoice?", "billing")',
        ),
        (RECOMPILE, "2 train rows moved"),
    ),
    "val row added": (
        Change('("Volume?", "sales")', '("Volume?", "sales"), ("New?", "sales")'),
        (RECOMPILE, "1 val row added"),
    ),
    "val rows in another order": (
        Change(
            '("Pay twice?", "billing"), ("A discount?", "sales")',
            '("A discount?", "sales"), ("Pay twice?", "billing")',
        ),
        (RECOMPILE, "2 val rows moved"),
    ),
    "test rows added": (
        Change("TEST = rows(", 'TEST = rows(("New?", "sales"), ("Newer?", "sales"), '),
        (EVALUATE, "2 missing"),
    ),
    "test label corrected": (
        Change('("Demo?", "sales")', '("Demo?", "billing")'),
        (EVALUATE, "1 missing"),
    ),
    "test row removed": (Change(', ("Demo?", "sales")', ""), (NEITHER,)),
    "test rows in another order": (
        Change(
            '("Tax?", "billing"), ("Offer?", "sales")', '("Offer?", "sales"), ("Tax?", "billing")'
        ),
        (NEITHER,),
    ),
    "model": (Change("openai/gpt-one", "openai/gpt-two"), (RECOMPILE, "model changed")),
    "temperature": (Change("temperature=0.2", "temperature=0.3"), (RECOMPILE, "model changed")),
    "endpoint": (Change("one.example", "two.example"), (RECOMPILE, "model changed")),
    "api key": (Change("sk-one", "sk-two"), (NEITHER,)),
    "timeout": (Change("timeout=30", "timeout=60"), (NEITHER,)),
    "prompt model": (
        Change("gpt-writer", "gpt-author"),
        (RECOMPILE, "prompt model changed"),
    ),
    "adapter": (Change("ChatAdapter", "JSONAdapter"), (RECOMPILE, "adapter changed")),
    "seed": (Change("seed=1", "seed=2"), (RECOMPILE, "option seed changed")),
    "trials": (Change("num_trials=8", "num_trials=16"), (RECOMPILE, "option num_trials changed")),
    "threads": (Change("threads=8", "threads=1"), (NEITHER,)),
    "name": (Change('name="router"', 'name="routing"'), (NEITHER,)),
    "comment": (Change("# Most tickets are short.", "# Just so."), (NEITHER,)),
    "comment outside of all that is used": (
        Change('"""Routes tickets."""', '"""Routes tickets."""  # quickly'),
        (NEITHER,),
    ),
    "blank lines": (Change("def clean", "\n\ndef clean"), (NEITHER,)),
    "unused function": (
        Change("    return 1\n\n\ndef rows", "    return 2\n\n\ndef rows"),
        (NEITHER,),
    ),
}


@pytest.mark.parametrize("change, expected", CHANGES.values(), ids=CHANGES)
def test_what_a_change_leads_to(
    load: Callable[[str], Task], change: Change, expected: tuple[str, ...]
) -> None:
    """Each input leads to a recompile, to scoring held-out rows, or to nothing, and is named."""
    assert led_to(load, change) == expected


@pytest.mark.parametrize(
    "package, expected",
    [
        ("dspy", (RECOMPILE, "DSPy version changed")),
        ("optuna", (RECOMPILE, "Optuna version changed")),
        ("numpy", (NEITHER,)),
    ],
)
def test_what_an_upgrade_leads_to(
    load: Callable[[str], Task],
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    expected: tuple[str, ...],
) -> None:
    """Another version of what chooses or asks makes an artifact stale, and DSPy's also rows."""
    task = load(PROJECT)
    before, rows = of_task(task), held_out(task)

    monkeypatch.setattr(
        fingerprint.keys, "version", lambda name: "99" if name == package else version(name)
    )

    changes = of_task(task).changes_since(before.parts)
    assert ((RECOMPILE, *changes) if changes else (NEITHER,)) == expected
    assert (held_out(task) != rows) is (package == "dspy")


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
def test_what_has_no_content_asks_for_a_version(
    load: Callable[[str], Task], old: str, new: str
) -> None:
    """Nothing is guessed: the error says what cannot be hashed, and version= is the way out."""
    task = load(edited(old, new))

    with pytest.raises(FingerprintError, match=r"cannot be hashed.*declare version="):
        of_task(task)
    assert of_task(load(edited(old, new).replace("threads=8", 'version="1"'))).key


# --- Predictions without the metric --------------------------------------------------------


def answers(task: Task) -> str:
    """Return the key that all predictions of ``task`` share."""
    return of_answers(task.program, task.lm, task.adapter, task.version)


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
def test_what_changes_a_prediction(load: Callable[[str], Task], name: str, same: bool) -> None:
    """Predictions are known again under another metric, and not under anything else."""
    change, _ = CHANGES[name]

    before, after = answers(load(PROJECT)), answers(load(edited(change.old, change.new)))

    assert (after == before) is same


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
def test_what_changes_a_score(load: Callable[[str], Task], name: str, same: bool) -> None:
    """The metric alone turns an answer into a score."""
    change, _ = CHANGES[name]

    before = of_metric(load(PROJECT).metric)
    after = of_metric(load(edited(change.old, change.new)).metric)

    assert (after == before) is same


# --- Elsewhere -----------------------------------------------------------------------------

PRINT_KEYS = """\
import json
import sys

from pytest_mipro.fingerprint import of_answers, of_evaluation, of_prompts, of_task
from routing import task

declared = task()
shared = (declared.program, declared.lm, declared.adapter)
print(json.dumps([
    of_task(declared).key,
    of_evaluation(declared.program, declared.metric, declared.lm, declared.adapter),
    of_answers(*shared),
    of_prompts(declared.program),
]))
"""


def keys_in(folder: Path, seed: str, text: str) -> list[str]:
    """Return the keys of the project in ``folder`` from a process of its own."""
    folder.mkdir()
    for name, content in {"routing.py": text, "print_keys.py": PRINT_KEYS}.items():
        (folder / name).write_text(content, encoding="utf-8")
        os.utime(folder / name, (int(seed), int(seed)))
    done = subprocess.run(
        [sys.executable, "print_keys.py"],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    keys: list[str] = json.loads(done.stdout)
    return keys


def test_keys_are_the_same_elsewhere(load: Callable[[str], Task], tmp_path: Path) -> None:
    """Another folder, process, hash seed, time of change and key for the model change no key."""
    task = load(PROJECT)
    here = [
        of_task(task).key,
        of_evaluation(task.program, task.metric, task.lm, task.adapter),
        answers(task),
        of_prompts(task.program),
    ]

    elsewhere = keys_in(tmp_path / "else where", "4242", edited("sk-one", "sk-two"))

    assert here == elsewhere


# --- More trials ---------------------------------------------------------------------------


class Recording(ScriptedEngine):
    """Counts what it is asked to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def complete(self, request: lm15.Request) -> lm15.Response:
        if "proposed_instruction" not in (request.messages[-1].text or ""):
            self.asked[repr((request.system, request.messages))] += 1
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
    """Say whether the prediction has the example's answer."""
    return bool(example.answer == prediction.answer)


def compile_with(store: Store, num_trials: int, seed: int) -> tuple[Counter[str], str]:
    """Compile a small program; return what was asked, and what came of it."""
    engine = Recording()
    lm = dspy.LM("scripted", engine=engine, cache=False)
    optimizer = MIPROv2(
        metric=exact,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=5,
        num_threads=4,
        seed=seed,
        store=store,
    )
    compiled = optimizer.compile(
        dspy.Predict("question -> answer"),
        trainset=sums(10, 0),
        valset=sums(24, 100),
        num_trials=num_trials,
        minibatch_size=16,
        program_aware_proposer=False,
    )
    return engine.asked, json.dumps(compiled.dump_state(), sort_keys=True)


@pytest.mark.parametrize("seed", [0, 1])
def test_more_trials_continue_the_search(seed: int) -> None:
    """After 8 trials, 16 ask only for what 8 have not asked, and end where 16 alone do."""
    shared, alone = Store.in_memory(), Store.in_memory()

    first, _ = compile_with(shared, 8, seed)
    second, continued = compile_with(shared, 16, seed)
    fresh, afresh = compile_with(alone, 16, seed)
    shared.close()
    alone.close()

    assert (first + second).most_common(1)[0][1] == 1
    assert second.keys() == fresh.keys() - first.keys()
    assert continued == afresh
    assert second

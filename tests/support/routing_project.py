"""A project in one file that routes tickets, and edits of it with their consequences."""

from __future__ import annotations

from dataclasses import dataclass

PROJECT = '''\
"""Routes tickets."""

from pathlib import Path
from typing import Literal

import dspy

from pytest_mipro.task import Dataset, Options, Task

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


@dataclass(frozen=True)
class Edit:
    """An edit of the project: a text and its replacement."""

    old: str
    new: str

    def apply(self) -> str:
        """Return the project after the edit."""
        assert PROJECT.count(self.old) == 1, f"{self.old!r} is not in the project exactly once"
        return PROJECT.replace(self.old, self.new)


RECOMPILE, EVALUATE, NEITHER = "recompile", "re-evaluate", "neither"
EDITS: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "instruction": (
        Edit("Route the ticket.", "Route it."),
        (RECOMPILE, "instruction of route changed (routing.py:15)"),
    ),
    "field type": (
        Edit('Literal["billing", "sales"]', 'Literal["billing", "sales", "legal"]'),
        (RECOMPILE, "fields of route changed (routing.py:15)"),
    ),
    "field description": (
        Edit("who answers", "who replies"),
        (RECOMPILE, "fields of route changed (routing.py:15)"),
    ),
    "field renamed": (
        Edit("team: Literal", "group: Literal"),
        (RECOMPILE, "fields of route changed (routing.py:15)"),
    ),
    "demo": (
        Edit('ticket="Hello", team="sales"', 'ticket="Hello", team="billing"'),
        (RECOMPILE, "demos of route changed"),
    ),
    "fields of a demo in another order": (
        Edit('ticket="Hello", team="sales"', 'team="sales", ticket="Hello"'),
        (NEITHER,),
    ),
    "Predict.config": (
        Edit('"top_p": 0.5', '"top_p": 0.6'),
        (RECOMPILE, "config of route changed"),
    ),
    "Predict.config in another order": (
        Edit('"top_p": 0.5, "stop": ["end"]', '"stop": ["end"], "top_p": 0.5'),
        (NEITHER,),
    ),
    "module source": (
        Edit("ticket=clean(ticket))", 'ticket=clean(ticket) + ".")'),
        (RECOMPILE, "code of routing.Router changed (routing.py:22)"),
    ),
    "helper function": (
        Edit("text.strip()", "text.lstrip()"),
        (RECOMPILE, "code of routing.clean changed (routing.py:39)"),
    ),
    "constant of a helper function": (
        Edit("LIMIT = 200", "LIMIT = 300"),
        (RECOMPILE, "value of LIMIT in routing.clean changed"),
    ),
    "tool source": (
        Edit("name.title()", "name.upper()"),
        (RECOMPILE, "code of routing.look_up changed (routing.py:34)"),
    ),
    "metric body": (
        Edit("            return 0\n", "            return 0.5\n"),
        (RECOMPILE, "metric changed (routing.py:44)"),
    ),
    "metric closure value": (
        Edit("graded(1)", "graded(2)"),
        (RECOMPILE, "value of weight in metric changed"),
    ),
    "metric default argument": (
        Edit("slack=0.25", "slack=0.5"),
        (RECOMPILE, "metric changed (routing.py:44)"),
    ),
    "metric attribute": (
        Edit("metric.bonus = 1", "metric.bonus = 2"),
        (RECOMPILE, "value of metric.bonus in metric changed"),
    ),
    "metric constant": (
        Edit('"price": "sales"', '"cost": "sales"'),
        (RECOMPILE, "value of RULES in metric changed"),
    ),
    "metric constant in another order": (
        Edit('"invoice": "billing", "price": "sales"', '"price": "sales", "invoice": "billing"'),
        (NEITHER,),
    ),
    "train row added": (
        Edit("TRAIN = rows(", 'TRAIN = rows(("New?", "sales"), '),
        (RECOMPILE, "1 train row added", "3 train rows moved"),
    ),
    "train row removed": (
        Edit(', ("What price?", "sales")', ""),
        (RECOMPILE, "1 train row removed"),
    ),
    "train label corrected": (
        Edit('("What price?", "sales")', '("What price?", "billing")'),
        (RECOMPILE, "1 train row added", "1 train row removed"),
    ),
    "train rows in another order": (
        Edit(
            '("Invoice?", "billing"), ("Where is my refund?", "billing")',
            '("Where is my refund?", "billing"), ("Invoice?", "billing")',
        ),
        (RECOMPILE, "2 train rows moved"),
    ),
    "val row added": (
        Edit('("Volume?", "sales")', '("Volume?", "sales"), ("New?", "sales")'),
        (RECOMPILE, "1 val row added"),
    ),
    "val rows in another order": (
        Edit(
            '("Pay twice?", "billing"), ("A discount?", "sales")',
            '("A discount?", "sales"), ("Pay twice?", "billing")',
        ),
        (RECOMPILE, "2 val rows moved"),
    ),
    "test rows added": (
        Edit("TEST = rows(", 'TEST = rows(("New?", "sales"), ("Newer?", "sales"), '),
        (EVALUATE, "2 missing"),
    ),
    "test label corrected": (
        Edit('("Demo?", "sales")', '("Demo?", "billing")'),
        (EVALUATE, "1 missing"),
    ),
    "test row removed": (Edit(', ("Demo?", "sales")', ""), (NEITHER,)),
    "test rows in another order": (
        Edit(
            '("Tax?", "billing"), ("Offer?", "sales")', '("Offer?", "sales"), ("Tax?", "billing")'
        ),
        (NEITHER,),
    ),
    "model": (Edit("openai/gpt-one", "openai/gpt-two"), (RECOMPILE, "model changed")),
    "temperature": (Edit("temperature=0.2", "temperature=0.3"), (RECOMPILE, "model changed")),
    "endpoint": (Edit("one.example", "two.example"), (RECOMPILE, "model changed")),
    "api key": (Edit("sk-one", "sk-two"), (NEITHER,)),
    "timeout": (Edit("timeout=30", "timeout=60"), (NEITHER,)),
    "prompt model": (
        Edit("gpt-writer", "gpt-author"),
        (RECOMPILE, "prompt model changed"),
    ),
    "adapter": (Edit("ChatAdapter", "JSONAdapter"), (RECOMPILE, "adapter changed")),
    "seed": (Edit("seed=1", "seed=2"), (RECOMPILE, "option seed changed")),
    "trials": (Edit("num_trials=8", "num_trials=16"), (RECOMPILE, "option num_trials changed")),
    "threads": (Edit("threads=8", "threads=1"), (NEITHER,)),
    "name": (Edit('name="router"', 'name="routing"'), (NEITHER,)),
    "comment": (Edit("# Most tickets are short.", "# Just so."), (NEITHER,)),
    "comment outside of all that is used": (
        Edit('"""Routes tickets."""', '"""Routes tickets."""  # quickly'),
        (NEITHER,),
    ),
    "blank lines": (Edit("def clean", "\n\ndef clean"), (NEITHER,)),
    "unused function": (
        Edit("    return 1\n\n\ndef rows", "    return 2\n\n\ndef rows"),
        (NEITHER,),
    ),
}
"""An edit; what it makes necessary, and the reasons."""

"""A module of tasks whose keys might depend on the process, and a script that prints their keys."""

SCENARIOS = '''\
import dataclasses
import enum

import dspy
import routing
from declared import lm, rows, task
from dataclasses import replace


def changed(**changes):
    return replace(task(), **changes)


def holding(value):
    def metric(example, prediction, trace=None):
        return prediction.queue in value

    return metric


NAMES = ("billing", "sales", "support", "legal", "returns", "press")


@dataclasses.dataclass
class Rubric:
    words: frozenset


class Label(enum.Enum):
    GOOD = "good"


class Judge:
    def __init__(self):
        self.words = set(NAMES)

    def __call__(self, example, prediction, trace=None):
        return prediction.queue in self.words


def look_up(title: str) -> str:
    """Find a page."""
    return title


def set_in_a_row():
    train = [row.copy(tags=set(NAMES)).with_inputs("ticket") for row in rows(0, 4)]
    return changed(dataset=replace(task().dataset, train=tuple(train)))


SCENARIOS = {
    "the declared task": task,
    "the routing project": routing.task,
    "a set in a closure": lambda: changed(metric=holding(set(NAMES))),
    "a dataclass with a set in a closure": lambda: changed(
        metric=holding(Rubric(frozenset(NAMES)))
    ),
    "an enum in a closure": lambda: changed(metric=holding([Label.GOOD])),
    "a callable object with a set": lambda: changed(metric=Judge()),
    "a lambda with a set literal": lambda: changed(
        metric=lambda e, p, trace=None: p.queue in {"billing", "sales", "support", "legal"}
    ),
    "a set in a row": set_in_a_row,
    "an agent with tools": lambda: changed(program=dspy.ReAct("ticket -> queue", tools=[look_up])),
    "a function in Predict.config": lambda: changed(
        program=dspy.Predict("ticket -> queue", tools=[look_up])
    ),
    "an adapter with a model": lambda: changed(adapter=dspy.TwoStepAdapter(lm())),
    "a function in the model's parameters": lambda: changed(lm=lm(tools=[look_up])),
}
'''
PRINT_KEYS = """\
import json
import sys

sys.path.append(sys.argv[2])
from fingerprints import all_keys
from scenarios import SCENARIOS

_padding = [object() for _ in range(int(sys.argv[1]))]  # gives objects other addresses
print(json.dumps({name: all_keys(make()) for name, make in SCENARIOS.items()}))
"""

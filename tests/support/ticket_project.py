"""The files of a project that routes tickets, and edits of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = '''\
"""Routes tickets."""

import re
from typing import Literal

import dspy

import wording
from wording import squash

LIMIT = 200
"""Longest ticket."""
KNOWN = frozenset({"billing", "sales", "support", "legal"})
WORD = re.compile("[a-z]+")
CHECKS = {"same": lambda a, b: a == b}


class Routing(dspy.Signature):
    """Route the ticket."""

    ticket: str = dspy.InputField(desc="what the customer wrote")
    language: str = dspy.InputField(default="en")
    queue: Literal["billing", "sales"] = dspy.OutputField(desc="who answers")
    certainty: float = dspy.OutputField(ge=0)


class Base(dspy.Module):
    def prepare(self, text):
        return text.strip()


class Router(Base):
    def __init__(self):
        super().__init__()
        self.attempts = 1
        self.classify = dspy.Predict(Routing, temperature=0.5)
        self.explain = dspy.ChainOfThought("queue -> reason")

    def forward(self, ticket, language="en"):
        # Long tickets say little in the end.
        ticket = clean(self.prepare(ticket))
        return self.classify(ticket=ticket, language=language)


def clean(text):
    """Shorten."""
    return text[:LIMIT]


def make_metric(weight):
    def graded(example, prediction, trace=None, slack=0.1, *, power=2):
        if prediction.queue not in KNOWN or not WORD.match(prediction.queue):
            return 0
        same = similar(example.queue, prediction.queue) or CHECKS["same"](1, 2)
        return weight * (same + slack) ** power

    return graded


def similar(left, right):
    return squash(left) == wording.fold(right)


def unused(text):
    return text.upper()


metric = make_metric(1)
'''
WORDING = """\
def squash(text):
    return "".join(text.split())


def fold(text):
    return text.casefold()
"""
DECLARED = """\
import dspy

from pytest_mipro.task import Dataset
from pytest_mipro.task import Task
from user_code import Router, metric


def rows(start, stop):
    return [
        dspy.Example(ticket=f"ticket {n}", queue="sales").with_inputs("ticket")
        for n in range(start, stop)
    ]


def lm(**changes):
    parameters = {
        "model": "openai/gpt-test",
        "temperature": 0.2,
        "max_tokens": 100,
        "api_base": "https://one.example/v1",
        "api_key": "one",
        **changes,
    }
    return dspy.LM(**parameters)


def task():
    program = Router()
    program.classify.demos = [dspy.Example(ticket="Invoice?", queue="billing")]
    return Task(
        name="router",
        test="test_router.py::test_router",
        program=program,
        metric=metric,
        dataset=Dataset(tuple(rows(0, 4)), tuple(rows(4, 7)), tuple(rows(7, 9))),
        lm=lm(),
        prompt_lm=lm(),
        adapter=dspy.ChatAdapter(),
    )
"""
FILES = {"user_code.py": PROGRAM, "wording.py": WORDING, "declared.py": DECLARED}


def edited(file: str, old: str, new: str, files: Mapping[str, str] = FILES) -> dict[str, str]:
    """Return the files after a text in one of them was replaced."""
    assert files[file].count(old) == 1, f"{old!r} is not in {file} exactly once"
    return {**files, file: files[file].replace(old, new)}

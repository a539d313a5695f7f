"""Language models for which an instruction is worth what it says.

Each example follows one of twelve hidden rules, some of which are more frequent
than others. A prompt has a level for each rule, the chance of a right answer to
an example that follows it:

- 0.3 if the prompt does not deal with the rule;
- 0.6 if a demo shows an example that follows it with its right answer;
- 0.95 if the instruction names it, less 0.02 for each rule above eight that the
  instruction names: a long list is diluted.

With two predictors, ``question -> hint`` and ``question, hint -> answer``, the
chance is the mean of the levels of both prompts.

A request for an instruction, or for anything else that is not the program's, is
answered by a text that names rules: those of the instruction that the request
shows, and a few that the request gives evidence of. Evidence is an example, or
the name of a rule elsewhere in the request. If the request shows failing
examples, only these count: three of their rules are named if the request also
shows right answers to failing examples, and two if not. Otherwise two rules are
named. An example fails if a wrong answer or a score of 0 is beside it.

Hashes decide everything random, so the same request always has the same answer,
and the true score of a program follows from its prompts' levels.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from benchmarks.landscape import answer, digest

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = 12
_BASE, _SHOWN, _NAMED = 0.3, 0.6, 0.95
_CLEAR, _DILUTION = 8, 0.02
"""Rules that an instruction can name without harm, and the harm of each further one."""
_WITH_LABELS, _WITHOUT = 3, 2
"""Rules that a writer learns from one request."""
_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`|following order of fields: `(\w+)`")
_QUESTION = re.compile(r"case-[0-9a-f]{16}")
_EXAMPLE = re.compile(r"case-[0-9a-f]{16}(?:(?!case-[0-9a-f]{16}).)*", re.DOTALL)
_NAME = re.compile(r"rule-[0-9a-f]{8}")
_HINT = re.compile(r"hint-[0-9a-f]{16}-(\d\.\d+)")
_SHOWN_INSTRUCTION = re.compile(
    r"\[\[ ## (?:present_|current_|basic_)instruction ## \]\]\n(.*?)(?=\n\n\[\[ ## |\Z)", re.DOTALL
)
_FAILS = re.compile(r"\bnot [0-9a-f]{16}|score of 0\b|scores? 0\b")


@dataclass(frozen=True)
class RulesReply:
    """The answer of such a model.

    Attributes:
        text: The answer, in the format that the request asks for.
        levels: The prompt's level for each rule; None if the request is not the program's.
    """

    text: str
    levels: tuple[float, ...] | None


class RulesModel:
    """One language model.

    Args:
        number: Decides its rules.
    """

    def __init__(self, number: int) -> None:
        self.name = f"rules-{number}"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the rules, the most frequent first."""
        return tuple(f"rule-{self._digest('rule', str(rule))[:8]}" for rule in range(RULES))

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """The share of the examples that follow each rule."""
        weights = [1 / (rule + 2) for rule in range(RULES)]
        return tuple(weight / sum(weights) for weight in weights)

    def _rule_in(self, text: str) -> int:
        """Return the rule that the first question in ``text`` follows."""
        question = _QUESTION.findall(text)[0]
        return bisect(self._ends, self._uniform("rule of", question))

    def score(self, levels: Sequence[Sequence[float]]) -> float:
        """Return the true score, in percent, of prompts with these levels."""
        chances = [math.fsum(of_rule) / len(of_rule) for of_rule in zip(*levels, strict=True)]
        pairs = zip(self.shares, chances, strict=True)
        return 100 * math.fsum(share * chance for share, chance in pairs)

    def reply(self, system: str, turns: Sequence[str]) -> RulesReply:
        """Answer a request.

        Args:
            system: The system message.
            turns: The other messages: demos, then the request itself.
        """
        *demos, request = turns
        fields = [first or second for first, second in dict.fromkeys(_FIELD.findall(request))]
        fields = [name for name in fields if name != "completed"]
        if fields not in (["hint"], ["answer"]):
            return RulesReply(self._written(fields, request), None)
        levels = self._levels(system, demos)
        question = _QUESTION.findall(request)[0]
        level = levels[self._rule_in(request)]
        prompt = self._digest("prompt", system, *demos)
        if fields == ["hint"]:
            return RulesReply(_filled({"hint": f"hint-{prompt}-{level:.6f}"}), levels)
        hints = [float(value) for value in _HINT.findall(request)]
        chance = (level + sum(hints)) / (1 + len(hints))
        right = self._uniform("luck", prompt, request) < chance
        value = answer(question) if right else f"not {answer(question)}"
        return RulesReply(_filled({"answer": value}), levels)

    def _levels(self, system: str, demos: Sequence[str]) -> tuple[float, ...]:
        named = set(_NAME.findall(system)) & set(self.names)
        level = _NAMED - _DILUTION * max(0, len(named) - _CLEAR)
        pairs = zip(demos[::2], demos[1::2], strict=True)
        shown = {self._rule_in(request) for request, reply in pairs if _is_solved(reply)}
        return tuple(
            level if name in named else _SHOWN if rule in shown else _BASE
            for rule, name in enumerate(self.names)
        )

    def _written(self, fields: Sequence[str], request: str) -> str:
        shown = _SHOWN_INSTRUCTION.search(request)
        named = _NAME.findall(shown[1]) if shown else []
        rest = _SHOWN_INSTRUCTION.sub("", request)
        names = dict.fromkeys([*named, *self._learned(rest, named)])
        text = " ".join(["Answer the question.", *(f"Mind {name}." for name in names)])
        values = dict.fromkeys(fields, text)
        return json.dumps(values) if "JSON object" in request else _filled(values)

    def _learned(self, text: str, named: Sequence[str]) -> list[str]:
        shown = _EXAMPLE.findall(text)
        failing = [part for part in shown if _FAILS.search(part)]
        evidence = [self.names[self._rule_in(part)] for part in failing or shown]
        count = _WITH_LABELS if any(map(_has_label, failing)) else _WITHOUT
        if not failing:
            evidence += _NAME.findall(text)
        new = sorted(set(evidence) - set(named))
        # The most frequent evidence is as likely to be noticed as any.
        new.sort(key=lambda name: self._digest("noticed", name, text))
        return new[:count]

    @cached_property
    def _ends(self) -> tuple[float, ...]:
        return tuple(accumulate(self.shares[:-1]))

    def _uniform(self, *parts: str) -> float:
        return int(self._digest(*parts)[:13], 16) / 16**13

    def _digest(self, *parts: str) -> str:
        return digest(self.name, *parts)


def question(name: str, number: int) -> str:
    """Return a question."""
    return f"case-{digest(name, str(number))}"


def _is_solved(text: str) -> bool:
    """Whether an answer in a demo is there, and right."""
    return "Not supplied" not in text and not _FAILS.search(text)


def _has_label(text: str) -> bool:
    """Whether the right answer to the question that ``text`` begins with is in it."""
    label = answer(_QUESTION.findall(text)[0])
    return re.search(rf"(?<!not ){label}", text) is not None


def _filled(fields: dict[str, str]) -> str:
    sections = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*sections, "[[ ## completed ## ]]"])

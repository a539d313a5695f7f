"""Language models with a known quality, which the benchmarks of the optimizer ask.

A landscape answers like a language model whose probability of a right answer
depends on the prompt in a known way. Hashes decide whether an example is
answered correctly under a prompt, so the same request always has the same
answer, and the true quality of any program can be computed without a call.

With u uniform and all effects normal, both drawn by hash, an example is
answered correctly if and only if

    u(prompts, example) < sigmoid(b + sum(effects) / sqrt(predictors) - difficulty(example))

where a predictor's prompt has the effect of its instruction, plus that of its
demos, plus that of the combination. The shape decides how large they may be.

A program has one predictor, ``question -> answer``, or two, ``question ->
hint`` and ``question, hint -> answer``; the hint carries the first prompt's
effect on to the second call. A request for any other field, as prompt models
get it, is answered by a text that depends on the request.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from hashlib import blake2b
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIFFICULTY = 1.5
_LEVEL = 0.7
_BITS = 52
_NORMAL = NormalDist()
_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_QUESTION = re.compile(r"\[\[ ## question ## \]\]\n(.*)")
_HINT = re.compile(r"\[\[ ## hint ## \]\]\n(\w+) (\S+)")


@dataclass(frozen=True)
class Shape:
    """The sources of the quality, in logits.

    Attributes:
        instruction: Standard deviation of an instruction's effect.
        demos: Standard deviation of a demo set's effect.
        bare: The effect of having no demos.
        interaction: Standard deviation of the effect of a combination of
            instruction and demo set.
    """

    instruction: float
    demos: float
    bare: float
    interaction: float = 0.0


SHAPES = {
    "plain": Shape(instruction=0.4, demos=0.6, bare=-0.8),
    "small": Shape(instruction=0.15, demos=0.25, bare=-0.3),
    "large": Shape(instruction=0.8, demos=1.2, bare=-1.2),
    "interacting": Shape(instruction=0.3, demos=0.4, bare=-0.8, interaction=0.8),
}


@dataclass(frozen=True)
class Reply:
    """The answer of a landscape.

    Attributes:
        text: The answer, in the format of DSPy's ChatAdapter.
        effect: The prompt's effect; None if the request is not the program's.
    """

    text: str
    effect: float | None


class Landscape:
    """One language model.

    Args:
        shape: A name out of ``SHAPES``.
        number: The number of the landscape among those of its shape.
    """

    def __init__(self, shape: str, number: int) -> None:
        self.name = f"{shape}-{number}"
        self.shape = SHAPES[shape]
        self._level = self._normal(_LEVEL, "level")

    @classmethod
    def named(cls, name: str) -> Landscape:
        """Return the landscape with that ``name``."""
        shape, _, number = name.rpartition("-")
        return cls(shape, int(number))

    def reply(self, system: str, turns: Sequence[str]) -> Reply:
        """Answer a request.

        Args:
            system: The system message.
            turns: The other messages: demos, then the request itself.
        """
        *demos, request = turns
        fields = [name for name in dict.fromkeys(_FIELD.findall(request)) if name != "completed"]
        if fields not in (["hint"], ["answer"]):
            style = self._digest("style", system, *turns)
            return Reply(_filled(dict.fromkeys(fields, f"Work in the style {style}.")), None)
        effect = self._effect(system, demos)
        prompt = self._digest("prompt", system, *demos)
        if fields == ["hint"]:
            return Reply(_filled({"hint": f"{prompt} {effect:+.9f}"}), effect)
        question = _groups(_QUESTION, request)[0]
        first, *carried = _groups(_HINT, request) or ("",)
        chance = self.chance([effect, *map(float, carried)], question)
        right = self._uniform("luck", first, prompt, question) < chance
        value = answer(question) if right else f"not {answer(question)}"
        return Reply(_filled({"answer": value}), effect)

    def chance(self, effects: Sequence[float], question: str) -> float:
        """Return the probability of a right answer to ``question`` under prompts of ``effects``."""
        quality = self._level + math.fsum(effects) / math.sqrt(len(effects))
        return 1 / (1 + math.exp(self._normal(_DIFFICULTY, "difficulty", question) - quality))

    def _effect(self, system: str, demos: Sequence[str]) -> float:
        shape = self.shape
        return (
            self._normal(shape.instruction, "instruction", system)
            + (self._normal(shape.demos, "demos", *demos) if demos else shape.bare)
            + self._normal(shape.interaction, "interaction", system, *demos)
        )

    def _normal(self, deviation: float, *parts: str) -> float:
        return deviation * _NORMAL.inv_cdf(self._uniform(*parts))

    def _uniform(self, *parts: str) -> float:
        drawn = int(self._digest(*parts), 16) >> 64 - _BITS  # A float holds no more bits.
        return (drawn + 0.5) / (1 << _BITS)

    def _digest(self, *parts: str) -> str:
        return digest(self.name, *parts)


def digest(*parts: str) -> str:
    """Return 16 hexadecimal digits that depend on all ``parts``."""
    return blake2b("\x00".join(parts).encode(), digest_size=8).hexdigest()


def answer(question: str) -> str:
    """Return the right answer to ``question``."""
    return digest("answer", question)


def _groups(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    match = pattern.search(text)
    return match.groups() if match else ()


def _filled(fields: dict[str, str]) -> str:
    sections = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*sections, "[[ ## completed ## ]]"])

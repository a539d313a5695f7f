"""Near-duplicates: inputs that differ only in case, Unicode form or white space."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.canonical import digest, plain, readable_json
from pytest_mipro.task.listing import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import dspy

    from pytest_mipro.canonical import JSON


def normalized_inputs_digest(example: dspy.Example) -> str:
    """Return the digest of the inputs of an example, equal for near-duplicates."""
    return digest(_normalized(plain(example.inputs())))


def _normalized(value: JSON) -> JSON:
    if isinstance(value, str):
        return _normalized_text(value)
    if isinstance(value, Mapping):
        return {name: _normalized(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [_normalized(item) for item in value]
    return value


def _normalized_text(text: str) -> str:
    # Twice, because folding the case of a composed character may give a decomposed one.
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(unicodedata.normalize("NFKC", folded).split())


@dataclass(frozen=True)
class _Example:
    """An example of a split, as a warning shows it."""

    split: str
    location: str
    inputs: JSON

    def __str__(self) -> str:
        return f"{self.location} {readable_json(self.inputs):.80}"


def near_duplicate_warning(splits: Mapping[str, Sequence[dspy.Example]]) -> str:
    """Return a warning that names the first near-duplicates; empty if there are none."""
    pairs = list(_pairs(_examples(splits)))
    if not pairs:
        return ""
    # Those in two splits first: only they spoil the held-out score.
    pairs.sort(key=lambda pair: pair[0].split == pair[1].split)
    divided = sum(first.split != second.split for first, second in pairs)
    lines = listed([f"{second} is like {first}" for first, second in pairs])
    count = counted(pairs, "example")
    return (
        f"{count} with inputs that differ from another's only in case, Unicode form or white "
        f"space:{lines}\n{_advice(divided)}"
    )


def _advice(divided: int) -> str:
    if divided:
        return (
            f"{divided} of them in another split, so the held-out score is not held out: "
            "remove them, or keep them in one split"
        )
    return "they are in one split, but the same evidence twice: remove them, or declare cluster="


def _examples(
    splits: Mapping[str, Sequence[dspy.Example]],
) -> Iterator[tuple[str, _Example]]:
    """Yield each example of the splits after the digest of its normalized inputs."""
    for split, examples in splits.items():
        for index, example in enumerate(examples):
            inputs = plain(example.inputs())
            yield digest(_normalized(inputs)), _Example(split, f"{split}[{index}]", inputs)


def _pairs(examples: Iterable[tuple[str, _Example]]) -> Iterator[tuple[_Example, _Example]]:
    """Yield each near-duplicate after the first example that it is like."""
    first_examples: dict[str, _Example] = {}
    for key, example in examples:
        first = first_examples.setdefault(key, example)
        # Equal inputs with several labels are no near-duplicates.
        if first.inputs != example.inputs:
            yield first, example

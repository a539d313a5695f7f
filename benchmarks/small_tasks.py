"""Three small classifications that a model of 135 million parameters can do with demos.

``question type`` is that of ``examples/question_type``. The others are made of
phrases with a gap for a thing or a name. No phrase is in two splits, so that the phrases of
the held-out split, its clusters, are new to an optimizer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dspy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_QUESTIONS = Path(__file__).resolve().parents[1] / "examples" / "question_type" / "questions.jsonl"
_SEARCHED, _HELD_OUT = 48, 72
"""Questions for the search, and held-out ones, of ``examples/question_type``."""
_THINGS = ("kettle", "jacket", "desk lamp", "backpack", "headset", "toaster", "bicycle", "tent")
_NAMES = ("Anna", "Martin", "Laura", "David", "Sofia", "Thomas", "Maria", "Daniel")
_REMARKS = {
    "positive": (
        "I would buy this {} again without thinking twice.",
        "This {} is worth every penny.",
        "My whole family loves the {}.",
        "The {} works better than I had hoped.",
        "What a wonderful {}!",
        "After a year the {} still looks like new.",
        "I have never owned a finer {}.",
        "The {} made my week.",
        "Well done, this {} is a delight to use.",
        "The {} is sturdy and beautiful.",
        "I recommend the {} to all my friends.",
        "This {} does exactly what it promises.",
        "I smile whenever I use the {}.",
        "The {} surprised me with its quality.",
        "Five stars for this {}.",
        "The {} has become my favourite.",
        "A great {} at a fair price.",
        "Nothing beats this {}.",
        "The {} is a joy from the first day on.",
        "I am very happy with my {}.",
        "This {} is pure comfort.",
        "The {} is simply brilliant.",
        "My mother thanked me for the {} all evening.",
        "The {} makes life so much easier.",
    ),
    "negative": (
        "I want my money back for this {}.",
        "This {} is a waste of money.",
        "The {} fell apart within a week.",
        "The {} never worked properly.",
        "What an awful {}!",
        "The {} arrived with scratches all over.",
        "I regret that I bought the {}.",
        "The {} ruined my holiday.",
        "Stay away from this {}.",
        "The {} feels cheap and smells of glue.",
        "I warned all my friends about the {}.",
        "This {} keeps none of its promises.",
        "I get angry whenever I use the {}.",
        "The {} disappointed me from the start.",
        "One star is too many for this {}.",
        "The {} went straight into the bin.",
        "A poor {} for far too much money.",
        "I have rarely seen a worse {}.",
        "The {} is a nuisance from the first day on.",
        "I am fed up with my {}.",
        "This {} is a bad joke.",
        "The {} is simply useless.",
        "My mother complained about the {} all evening.",
        "The {} makes everything more difficult.",
    ),
}
_SENTENCES = {
    "English": (
        "{} reads the newspaper every morning.",
        "In winter {} goes to work by bus.",
        "The dog of {} sleeps under the table.",
        "Yesterday {} bought bread and cheese.",
        "{} has two brothers and a sister.",
        "Tomorrow {} will visit the museum.",
        "{} lost the keys in the garden.",
        "Next to the church {} opened a small shop.",
        "Why does {} never answer the phone?",
        "{} is waiting for the rain to stop.",
        "We had dinner with {} at the lake.",
        "{} paints the old house white.",
    ),
    "French": (
        "{} lit le journal tous les matins.",
        "En hiver, {} va au travail en bus.",
        "Le chien de {} dort sous la table.",
        "Hier, {} a acheté du pain et du fromage.",
        "{} a deux frères et une sœur.",
        "Demain, {} visitera le musée.",
        "{} a perdu les clés dans le jardin.",
        "À côté de l'église, {} a ouvert une petite boutique.",
        "Pourquoi {} ne répond jamais au téléphone ?",
        "{} attend que la pluie cesse.",
        "Nous avons dîné avec {} au bord du lac.",
        "{} peint la vieille maison en blanc.",
    ),
    "German": (
        "{} liest jeden Morgen die Zeitung.",
        "Im Winter fährt {} mit dem Bus zur Arbeit.",
        "Der Hund von {} schläft unter dem Tisch.",
        "Gestern hat {} Brot und Käse gekauft.",
        "{} hat zwei Brüder und eine Schwester.",
        "Morgen besucht {} das Museum.",
        "{} hat die Schlüssel im Garten verloren.",
        "Neben der Kirche hat {} einen kleinen Laden eröffnet.",
        "Warum geht {} nie ans Telefon?",
        "{} wartet, bis der Regen aufhört.",
        "Wir haben mit {} am See zu Abend gegessen.",
        "{} streicht das alte Haus weiß.",
    ),
    "Spanish": (
        "{} lee el periódico todas las mañanas.",
        "En invierno {} va al trabajo en autobús.",
        "El perro de {} duerme debajo de la mesa.",
        "Ayer {} compró pan y queso.",
        "{} tiene dos hermanos y una hermana.",
        "Mañana {} visitará el museo.",
        "{} perdió las llaves en el jardín.",
        "Al lado de la iglesia {} abrió una tienda pequeña.",
        "¿Por qué {} nunca contesta el teléfono?",
        "{} espera a que pare la lluvia.",
        "Cenamos con {} junto al lago.",
        "{} pinta de blanco la casa vieja.",
    ),
}


class QuestionType(dspy.Signature):
    """Say what kind of answer the question wants."""

    question: str = dspy.InputField()
    kind: Literal["person", "place", "number", "date"] = dspy.OutputField()


class Opinion(dspy.Signature):
    """Say what the customer thinks of the product."""

    remark: str = dspy.InputField()
    opinion: Literal["positive", "negative"] = dspy.OutputField()


class Language(dspy.Signature):
    """Say which language the sentence is in."""

    sentence: str = dspy.InputField()
    language: Literal["English", "French", "German", "Spanish"] = dspy.OutputField()


@dataclass(frozen=True)
class Split:
    """Labelled examples, and the cluster of each one."""

    examples: tuple[dspy.Example, ...]
    clusters: tuple[str, ...]

    def part(self, count: int) -> Split:
        """Return the first ``count`` examples."""
        return Split(self.examples[:count], self.clusters[:count])

    def joined(self, split: Split) -> Split:
        """Return the examples of both."""
        return Split(self.examples + split.examples, self.clusters + split.clusters)


@dataclass(frozen=True)
class SmallTask:
    """A classification.

    Attributes:
        signature: What the one predictor of the program does.
        train: For demos and proposals.
        validation: For the search.
        held_out: For the comparison of results.
    """

    signature: type[dspy.Signature]
    train: Split
    validation: Split
    held_out: Split

    def metric(
        self, example: dspy.Example, prediction: dspy.Prediction, _trace: object = None
    ) -> bool:
        """Return whether the label is right."""
        (label,) = self.signature.output_fields
        return bool(example[label] == prediction[label])

    def part(self, count: int) -> SmallTask:
        """Return the task with ``count`` examples of each split."""
        splits = (split.part(count) for split in (self.train, self.validation, self.held_out))
        return SmallTask(self.signature, *splits)


def question_type() -> SmallTask:
    """Return the task of ``examples/question_type``, with a part of its rows."""
    rows = [json.loads(line) for line in _QUESTIONS.read_text(encoding="utf-8").splitlines()]
    train, validation, held_out = (_of_file(rows, name) for name in ("train", "val", "test"))
    return SmallTask(QuestionType, train, validation.part(_SEARCHED), held_out.part(_HELD_OUT))


def opinion() -> SmallTask:
    """Return a task with two labels."""
    return _of_phrases(Opinion, _REMARKS, _THINGS)


def language() -> SmallTask:
    """Return a task with four labels."""
    return _of_phrases(Language, _SENTENCES, _NAMES)


TASKS: Mapping[str, Callable[[], SmallTask]] = {
    "question type": question_type,
    "opinion": opinion,
    "language": language,
}
"""What makes each task."""


def _of_file(rows: Sequence[Mapping[str, str]], split: str) -> Split:
    members = [row for row in rows if row["split"] == split]
    examples = [
        dspy.Example(question=row["question"], kind=row["kind"]).with_inputs("question")
        for row in members
    ]
    return Split(tuple(examples), tuple(row["question"] for row in members))


def _of_phrases(
    signature: type[dspy.Signature],
    phrases: Mapping[str, Sequence[str]],
    things: Sequence[str],
) -> SmallTask:
    """Return a task with one of four phrases for demos, one for the search, and two held out."""
    return SmallTask(
        signature,
        _split(signature, phrases, slice(0, None, 4), things[:4]),
        _split(signature, phrases, slice(1, None, 4), things[:4]),
        _split(signature, phrases, slice(2, None, 4), things[4:6]).joined(
            _split(signature, phrases, slice(3, None, 4), things[6:])
        ),
    )


def _split(
    signature: type[dspy.Signature],
    phrases: Mapping[str, Sequence[str]],
    places: slice,
    things: Sequence[str],
) -> Split:
    """Return some phrases of each label with each thing, the labels in turn."""
    (field,), (label,) = signature.input_fields, signature.output_fields
    by_place = zip(*(texts[places] for texts in phrases.values()), strict=True)
    rows = [
        (phrase, phrase.format(thing), name)
        for thing, of_place in product(things, by_place)
        for name, phrase in zip(phrases, of_place, strict=True)
    ]
    examples = [
        dspy.Example(**{field: text, label: name}).with_inputs(field) for _, text, name in rows
    ]
    return Split(tuple(examples), tuple(phrase for phrase, _, _ in rows))

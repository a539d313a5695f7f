"""The parts of a fingerprint: a kind, the name of the part and its owner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

Content = TypeVar("Content")


class Kind(Enum):
    """What a part describes; the value is its word in texts of parts."""

    MODULES = "modules"
    INSTRUCTION = "instruction"
    FIELDS = "fields"
    DEMOS = "demos"
    CONFIG = "config"
    PREDICTOR_MODEL = "predictor model"
    METRIC = "metric"
    MODEL = "model"
    ADAPTER = "adapter"
    SETTING = "setting"
    STATE = "state"
    ENVIRONMENT = "environment"
    FILE = "file"
    OPTION = "option"
    OPTIMIZER = "optimizer"
    ROW = "row"
    VERSION = "version"
    EXTRA = "extra"
    CODE = "code"
    DEFAULTS = "defaults"
    VALUE = "value"
    SIGNATURE = "signature"


_KINDS = {kind.value: kind for kind in Kind}
_MOST_NAMES = 2  # the owner's and the part's


@dataclass(frozen=True)
class Part:
    """One part of a fingerprint.

    Attributes:
        kind: What the part describes.
        name: The predictor, option, model, row, function or variable; empty
            if a task has one part of the kind.
        owner: What the name belongs to: a value's function, a row's split,
            ``teacher`` for the teacher's predictors.
    """

    kind: Kind
    name: str = ""
    owner: str = ""

    def __str__(self) -> str:
        """Return the text under which records keep the part."""
        names = (self.kind.value, self.owner, self.name)
        return "/".join(_escaped(name) for name in names if name)

    @classmethod
    def from_text(cls, text: str) -> Part:
        """Return the part whose text this is; an extra one if its kind is unknown."""
        word, *names = map(unquote, text.split("/"))
        if word not in _KINDS or len(names) > _MOST_NAMES:
            return cls(Kind.EXTRA, text)
        return cls(_KINDS[word], *reversed(names))


METRIC = Part(Kind.METRIC)
METRIC_NAME = METRIC.kind.value
"""The metric's name as the owner of values and defaults."""


PACKAGE = "package"
"""The owner of the versions of the packages that the user's code uses."""


def code_part(name: str) -> Part:
    """Return the part with the source of the function or class of that name."""
    return METRIC if name == METRIC_NAME else Part(Kind.CODE, name)


def by_text(parts: Mapping[Part, Content]) -> dict[str, Content]:
    """Return the contents of ``parts`` by the parts' texts, as records keep them."""
    return {str(part): content for part, content in parts.items()}


def by_part(contents: Mapping[str, Content]) -> dict[Part, Content]:
    """Return the contents of parts that a record has by the parts' texts."""
    return {Part.from_text(text): content for text, content in contents.items()}


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")

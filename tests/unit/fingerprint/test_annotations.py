from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import pydantic
import pytest
from fingerprints import holding, simple_task

from pytest_mipro.fingerprint import task_fingerprint
from pytest_mipro.fingerprint.annotations import (
    annotation_text,
    classes_in,
    fields_of,
    metadata_in,
)

pytestmark = pytest.mark.uses("dspy", "pydantic")


@pytest.mark.parametrize(
    "annotations",
    [
        # ruff: ignore[non-pep604-annotation-optional, non-pep604-annotation-union]: the spellings
        (Optional[int], Union[int, None], int | None),
        (list[int], list[int]),
        (Callable[[int, str], bool],),
        (Literal["a", 1],),
    ],
)
def test_equal_annotations_have_one_description(annotations: tuple[object, ...]) -> None:
    """The spelling of an annotation changes no key, and its content does."""
    keys = {task_fingerprint(simple_task(holding(item))).key for item in annotations}

    assert len(keys) == 1
    assert task_fingerprint(simple_task(holding(dict[str, int]))).key not in keys


def test_text_of_an_annotation_has_no_address() -> None:
    """A validator has an address in memory, which is new in each process."""
    annotation = list[Annotated[str, pydantic.AfterValidator(len)]]

    assert annotation_text(annotation) == "builtins.list[Annotated[builtins.str]]"


def test_classes_and_metadata_are_at_any_depth() -> None:
    """Texts of a literal are no types."""
    annotation = dict[str, Annotated[list[Annotated[int, "inner"]], "outer"]] | Literal["text"]

    assert [*classes_in(annotation)] == [str, int]
    assert [*metadata_in(annotation)] == ["outer", "inner"]
    assert [*classes_in(Callable[[bytes], bool])] == [bytes, bool]


class Model(pydantic.BaseModel):
    """A model of Pydantic."""

    word: Annotated[int, pydantic.Field(ge=1), "kept"]


@dataclasses.dataclass
class Data:
    """A dataclass."""

    word: Annotated[int, "kept"]


class Dictionary(TypedDict):
    """A typed dictionary."""

    word: Annotated[int, "kept"]


class Row(NamedTuple):
    """A named tuple."""

    word: Annotated[int, "kept"]


class Plain:
    """A class whose annotations convert nothing."""

    word: Annotated[int, "kept"]


@dataclasses.dataclass
class Unknown:
    """A dataclass with a name that is not there when the code runs."""

    word: "Missing"  # type: ignore[name-defined] # ruff: ignore[undefined-name, quoted-annotation]


@pytest.mark.parametrize("cls", [Model, Data, Dictionary, Row])
def test_fields_of_a_record_have_their_metadata(cls: Any) -> None:
    """Pydantic takes it out of the annotation."""
    (annotation,) = fields_of(cls).values()

    assert [*classes_in(annotation)] == [int]
    assert [*metadata_in(annotation)][-1] == "kept"


@pytest.mark.parametrize("cls", [Plain, Unknown, int])
def test_other_class_has_no_fields(cls: Any) -> None:
    """Nothing converts by its annotations, or nothing can read them."""
    assert fields_of(cls) == {}

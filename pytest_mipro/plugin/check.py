"""The check of what a test declares, at collection."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_mipro.errors import DeclarationError
from pytest_mipro.plugin.declaration import NAMES
from pytest_mipro.task import (
    DEFAULT_SPLIT,
    OPTION_NAMES,
    Dataset,
    Options,
    check_adapter,
    check_budget,
    check_cluster,
    check_metric,
    check_program,
    check_repeat,
    clusters_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from pytest_mipro.task import DatasetSource


@dataclass(frozen=True)
class CheckedDeclaration:
    """
    A declaration that has been checked, its dataset loaded.

    Attributes:
        values: What was declared, by name.
        options: The options of the search.
        dataset: The dataset, if the declaration names one.
        folder: Where the test file is.

    """

    values: Mapping[str, Any]
    options: Options
    dataset: Dataset | None
    folder: Path

    def load(self, source: DatasetSource) -> Dataset:
        """Return the dataset at ``source``, read and split as declared."""
        dataset = Dataset.load(
            source,
            inputs=self.values.get("inputs"),
            split=self.values.get("split", DEFAULT_SPLIT),
            folder=self.folder,
        )
        if "cluster" in self.values:
            clusters_of(dataset, self.values["cluster"])
        return dataset


def declaring_test(node: pytest.Item) -> str:
    """Return the node id without parameters: what a declaration belongs to."""
    name = getattr(node, "originalname", None) or node.name
    parent = "" if node.parent is None else node.parent.nodeid
    return f"{parent}::{name}"


def check(node: pytest.Item) -> CheckedDeclaration:
    """
    Check what ``node`` declares, closest marker first, and load its dataset.

    Raises:
        DeclarationError: It cannot be used.

    """
    _refuse_unasked(node)
    values: dict[str, Any] = {}
    for mark in node.iter_markers("mipro"):
        _refuse_positional(mark)
        values = {**mark.kwargs, **values}
    _refuse_unknown(values)
    if "program" in values:
        check_program(values["program"])
    if "metric" in values:
        check_metric(values["metric"])
    if "adapter" in values:
        check_adapter(values["adapter"])
    if "repeat" in values:
        check_repeat(values["repeat"])
    if "cluster" in values:
        check_cluster(values["cluster"])
    if "budget" in values:
        check_budget(values["budget"])
    options = Options.declare(**{name: values[name] for name in OPTION_NAMES if name in values})
    options.refuse_contradictions()
    declared = CheckedDeclaration(values, options, None, node.path.parent)
    if "dataset" not in values:
        return declared
    return replace(declared, dataset=declared.load(values["dataset"]))


def _refuse_unasked(node: pytest.Item) -> None:
    """Refuse a test with a marker of its own that cannot ask for the outcome."""
    asks = {"mipro", "request"}.intersection(getattr(node, "fixturenames", ()))
    if not asks and any(mark.name == "mipro" for mark in node.own_markers):
        message = (
            "the test is marked with mipro and never asks what came of it, so it would pass "
            "whatever happens; take the fixture `mipro` as an argument, or use @mipro_optimize"
        )
        raise DeclarationError(message)


def _refuse_positional(mark: pytest.Mark) -> None:
    if mark.args:
        message = (
            f"mipro takes keyword arguments only, got {mark.args[0]!r:.80}; "
            "name it, e.g. program=... or metric=..."
        )
        raise DeclarationError(message)


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    for name in values:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(NAMES)}"
            message = f"mipro has no argument {name!r}; {hint}"
            raise DeclarationError(message)

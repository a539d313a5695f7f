"""Where the reference of a test is, and who else would write there."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.reference import ReferenceLocation

if TYPE_CHECKING:
    from pathlib import Path


def node_id(node: pytest.Item) -> str:
    """Return the node id without the group that xdist appends to it."""
    parent = "" if node.parent is None else node.parent.nodeid
    return f"{parent}::{node.name}"


def location_of(node: pytest.Item) -> ReferenceLocation:
    """Return the place of ``node``'s reference."""
    config = node.config
    selected = _seen_from(config.invocation_params.dir, node)
    return ReferenceLocation.beside(
        node.path,
        _names(node),
        command=f"pytest --mipro --mipro-update {shlex.quote(selected)}",
        root=config.rootpath,
    )


def _names(node: pytest.Item) -> list[str]:
    classes = [each.name for each in node.listchain() if isinstance(each, pytest.Class)]
    return [*classes, node.name]


def _seen_from(folder: Path, node: pytest.Item) -> str:
    """Return what selects ``node`` when pytest is started in ``folder``."""
    try:
        path = os.path.relpath(node.path, folder)
    except ValueError:  # another drive
        path = str(node.path)
    return "::".join([path.replace(os.sep, "/"), *_names(node)])

"""The node id of a test, and the location of its reference."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.errors import DeclarationError
from pytest_mipro.escaping import neutral
from pytest_mipro.reference import ReferenceLocation

if TYPE_CHECKING:
    from pathlib import Path


def node_id(node: pytest.Item) -> str:
    """Return the node id without the group that xdist appends to it."""
    parent = "" if node.parent is None else node.parent.nodeid
    return f"{parent}::{node.name}"


def check_name(node: pytest.Item) -> None:
    """Check that a log can have the name of ``node``, which may be made of a dataset.

    Pytest shows control characters of names as escapes, and this one as it is.

    Raises:
        DeclarationError: A runner of GitHub or Azure would obey it.
    """
    if neutral(node.name) != node.name:
        message = (
            "a name with `##[` would be obeyed by a CI system whose log has it; give the parameter "
            'an id of its own, as in pytest.param(text, id="long text")'
        )
        raise DeclarationError(message)


def location_of(node: pytest.Item) -> ReferenceLocation:
    """Return the location of the reference of ``node``."""
    config = node.config
    selection = _selection(node, config.invocation_params.dir)
    return ReferenceLocation.beside(
        node.path,
        _names(node),
        command=f"pytest --mipro --mipro-update {shlex.quote(selection)}",
        root=config.rootpath,
    )


def _names(node: pytest.Item) -> list[str]:
    classes = [parent.name for parent in node.listchain() if isinstance(parent, pytest.Class)]
    return [*classes, node.name]


def _selection(node: pytest.Item, folder: Path) -> str:
    """Return the argument that selects ``node`` when pytest is started in ``folder``."""
    try:
        path = os.path.relpath(node.path, folder)
    except ValueError:  # They are on different drives.
        path = str(node.path)
    return "::".join([path.replace(os.sep, "/"), *_names(node)])

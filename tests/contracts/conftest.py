"""The project of the README, on which tests of the documentation run pytest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from documentation import TEAMS, block, conftest
from project import SUPPORT, Project

if TYPE_CHECKING:
    from forks import ForkServer


@pytest.fixture
def folder(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer | None
) -> Project:
    """Write the README's test with 150 tickets like the one it shows."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("DSPY_CACHEDIR", str(pytester.path / "dspy-cache"))
    rows = [
        {"ticket": f"Ticket {number}: {word} again", "team": team}
        for number in range(50)
        for word, team in TEAMS.items()
    ]
    assert rows[0].keys() == json.loads(block("first row")).keys()
    lines = "\n".join(map(json.dumps, rows))
    (pytester.path / "tickets.jsonl").write_text(lines, encoding="utf-8")
    pytester.makepyfile(conftest=conftest(TEAMS), test_routing=block("first example"))
    return Project(pytester, fork_server)

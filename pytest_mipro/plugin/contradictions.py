"""Refuse settings that contradict each other, and let a flag switch off a contrary ini option."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.plugin.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIGRATE = "one compiles, compares and accepts nothing, the other"


def consistent_settings(config: pytest.Config) -> Settings:
    """Return the settings of a session, which can be carried out together.

    Raises:
        pytest.UsageError: Two of them contradict each other, or one has a value it cannot have.
    """
    settings = Settings.from_config(config)
    if message := next(_contradictions(settings, config), ""):
        raise pytest.UsageError(message)
    compiles = settings.update or settings.refresh or settings.migrate
    return replace(settings, frozen=settings.frozen and not compiles)


def _contradictions(settings: Settings, config: pytest.Config) -> Iterator[str]:
    is_frozen_by_flag = config.getoption("mipro_frozen")
    for name in ("update", "refresh"):
        if getattr(settings, name) and is_frozen_by_flag:
            reason = "one gives new references or programs, the other takes what was accepted"
            yield _message(name, "frozen", reason)
    if settings.reference_from and settings.update:
        reason = "one writes the references of the work tree, the other reads those of a commit"
        yield _message("update", "reference-from", reason)
    if settings.new_anchor and not settings.update:
        yield (
            "--mipro-new-anchor does nothing without --mipro-update: it says what an acceptance "
            "is to be; add --mipro-update, or leave it out"
        )
    if settings.dry_run and settings.update:
        reason = "one accepts what a run came to, the other runs nothing"
        yield _message("update", "dry-run", reason)
    if settings.migrate and settings.update:
        yield _message("migrate", "update", f"{_MIGRATE} accepts what a run came to")
    if settings.migrate and is_frozen_by_flag:
        yield _message("migrate", "frozen", f"{_MIGRATE} compiles nothing")
    if settings.migrate and settings.dry_run:
        yield _message("migrate", "dry-run", f"{_MIGRATE} runs nothing")


def _message(first: str, second: str, reason: str) -> str:
    return f"--mipro-{first} and --mipro-{second} contradict each other: {reason}; choose one"

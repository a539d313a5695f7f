"""The context of a task: its fingerprint, and the reference that was accepted for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_mipro.errors import DamagedReference
from pytest_mipro.fingerprint import by_part, metric_key
from pytest_mipro.reference import read_history, read_reference

if TYPE_CHECKING:
    from pytest_mipro.fingerprint import Fingerprint
    from pytest_mipro.reference import Anchor, History, Reference, ReferenceLocation
    from pytest_mipro.session.policy import Policy
    from pytest_mipro.task import Task


@dataclass(frozen=True)
class TaskContext:
    """A task and everything that is read before any work.

    Attributes:
        task: What a test declares.
        fingerprint: The parts of its compile key.
        location: Where its reference is.
        reference: The accepted reference; None without one.
        is_damaged: Whether the location has files that hold no reference.
        history: What was accepted so far; None if nothing was.
    """

    task: Task
    fingerprint: Fingerprint
    location: ReferenceLocation
    reference: Reference | None
    is_damaged: bool = False
    history: History | None = None

    @property
    def stale(self) -> str:
        """How the task changed since the reference was accepted, in words; empty if not."""
        if self.reference is None or self.reference.key == self.fingerprint.key:
            return ""
        changes = ", ".join(self.fingerprint.changes_since(by_part(self.reference.parts)))
        path = self.location.show(self.location.scores)
        return (
            f"the reference {path} is out of date: {changes}; "
            f"accept anew with: {self.location.command}"
        )

    @property
    def has_only_moved(self) -> bool:
        """Whether the task differs from the accepted one in its model, adapter or DSPy alone."""
        if self.reference is None:
            return False
        return self.fingerprint.has_only_moved(by_part(self.reference.parts))

    @property
    def has_new_metric(self) -> bool:
        """Whether the accepted scores are those of another metric."""
        if self.reference is None:
            return False
        return self.reference.metric != metric_key(self.task.metric, self.task.version)

    @property
    def changed_metrics(self) -> tuple[str, ...]:
        """The metrics by which there are no accepted scores; a metric may have the empty name."""
        if self.reference is None:
            return ()
        optimized = (self.task.metric_name,) if self.has_new_metric else ()
        return (*optimized, *self.new_further_metrics)

    @property
    def new_further_metrics(self) -> tuple[str, ...]:
        """The further metrics by which the reference has no scores, in their order."""
        accepted = {} if self.reference is None else self.reference.further
        return tuple(
            name
            for name, key in further_metric_keys(self.task).items()
            if name not in accepted or accepted[name].metric != key
        )

    @property
    def anchor(self) -> Anchor | None:
        """The anchor that the reference is compared with; None if it is the anchor itself."""
        if self.history is None or self.reference is None:
            return None
        is_reference = self.history.anchor.acceptance == self.reference.identity
        return None if is_reference else self.history.anchor


def further_metric_keys(task: Task) -> dict[str, str]:
    """Return the key of each further metric, by its name."""
    metrics = task.further_metrics.items()
    return {name: metric_key(metric, task.version) for name, metric in metrics}


def read_context(
    task: Task, fingerprint: Fingerprint, location: ReferenceLocation, policy: Policy
) -> TaskContext:
    """Return the context of ``task``, whose reference may be damaged if an update replaces it.

    Its history may be damaged only if this run starts a new one.

    Raises:
        ReferenceFileError: The reference cannot be read or used.
    """
    try:
        reference, is_damaged = read_reference(location), False
    except DamagedReference:
        if not policy.update:
            raise
        reference, is_damaged = None, True
    try:
        history = read_history(location, reference, update=policy.update)
    except DamagedReference:
        if not policy.new_anchor:
            raise
        history, is_damaged = None, True
    return TaskContext(task, fingerprint, location, reference, is_damaged, history)

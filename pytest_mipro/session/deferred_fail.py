"""A FAIL on which an assert holds until the end of the session decides about it."""

from __future__ import annotations

from dataclasses import fields

from pytest_mipro.records import Verdict


class DeferredFail(Verdict):
    """A FAIL that a test may assert on, and that knows whether the test did.

    Attributes:
        is_asserted: Whether the test asked for its truth value. The session only decides about
            such a FAIL: one that a test looks at without an assert blocks nothing.
    """

    is_asserted = False

    @classmethod
    def of(cls, verdict: Verdict) -> DeferredFail:
        """Return ``verdict`` as a deferred FAIL."""
        values = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
        return cls(**{**values, "deferred": True})

    def __bool__(self) -> bool:
        """Whether an assert holds, which it does; note that there is one."""
        object.__setattr__(self, "is_asserted", True)
        return True

    def plain(self) -> Verdict:
        """Return the verdict as a record, deferred if an assert depends on it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Verdict(**{**values, "deferred": self.is_asserted})

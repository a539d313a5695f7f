"""The number and the length of the waits for a provider that fails."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long language model calls are retried.

    Each wait is twice as long as the one before, and lengthened by up to a half at random. If
    the provider names a time (``Retry-After``), the first wait has that length.

    Rate limits are retried while other calls succeed, and for ``total`` seconds more; other
    errors up to ``attempts`` and ``total``.

    Attributes:
        attempts: Maximum number of attempts at one row, without those that met a rate limit.
        first_wait: Seconds before the second attempt, unless the provider names a time.
        longest_wait: Maximum number of seconds of one wait, before the random addition; it also
            limits the provider's time.
        total: Seconds from the first error of a row after which the row is given up.
    """

    attempts: int = 10
    first_wait: float = 0.5
    longest_wait: float = 60.0
    total: float = 300.0


DEFAULT = RetryPolicy()
"""The policy of a run that sets no other."""

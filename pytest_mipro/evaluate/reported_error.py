"""An error that a worker of an executor reports, and what a retry of it needs to know."""

from __future__ import annotations


class ReportedError(Exception):
    """An error of a language model call in another process, or of the executor.

    The original stays in its process: an exception of a client library may hold anything.

    Attributes:
        type_name: The type of the original.
        is_temporary: Whether a retry may succeed.
        is_rate_limit: Whether the provider limits the rate of calls.
        retry_after: The seconds that the provider asks to wait, or None.
        description: The work that failed, such as ``"scoring with the metric"``.
        source: What failed.
    """

    def __init__(  # ruff: ignore[too-many-arguments] - what a retry and a message need
        self,
        type_name: str,
        message: str,
        *,
        is_temporary: bool,
        is_rate_limit: bool = False,
        retry_after: float | None = None,
        description: str,
        source: str = "the language model",
    ) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.is_temporary = is_temporary
        self.is_rate_limit = is_rate_limit
        self.retry_after = retry_after
        self.description = description
        self.source = source

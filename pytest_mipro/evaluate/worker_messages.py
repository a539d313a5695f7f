"""What the driver sends to a worker of an executor, and what the worker replies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import dspy

    from pytest_mipro.canonical import JSON
    from pytest_mipro.evaluate.work import PaidRecord
    from pytest_mipro.evaluate.work_callback import WorkCallback
    from pytest_mipro.records import Usage
    from pytest_mipro.spending import Limit, Prices, Purpose


@dataclass(frozen=True)
class RowBudget:
    """The part of the driver's account that a piece of work has.

    Attributes:
        limits: The share of each limit.
        prices: The prices of the models.
        stage: The purpose of calls that name no other.
    """

    limits: tuple[Limit, ...]
    prices: Prices
    stage: Purpose


@dataclass(frozen=True)
class SharedParts:
    """What much work has in common, unpickled once per process.

    Attributes:
        arguments: The first arguments of the work's function.
        settings: Settings of DSPy that can decide results, by name.
        callbacks: Callbacks that count what happens in the work.
        models: Language models in the arguments, with the digests of their descriptions.
    """

    arguments: tuple[object, ...]
    settings: Mapping[str, object]
    callbacks: tuple[WorkCallback, ...]
    models: tuple[tuple[dspy.BaseLM, str | None], ...]


@dataclass(frozen=True)
class Request:
    """One attempt at a piece of work.

    Attributes:
        function: The work's function.
        digest: The digest of its shared parts.
        shared: These parts, pickled; None if the worker may have them.
        own: The work's own arguments, pickled.
        driver: The identity of the driver's process.
        versions: The driver's versions.
        budget: What the calls may take; None is no limit, and no account.
        responses: Responses to calls of the work; None if nothing is cached.
        uses_own_cache: Whether DSPy's own cache in the worker's process stays in use.
    """

    function: Callable[..., PaidRecord]
    digest: str
    shared: bytes | None
    own: bytes
    driver: tuple[str, int]
    versions: Mapping[str, str]
    budget: RowBudget | None
    responses: Mapping[str, JSON] | None
    uses_own_cache: bool = False


@dataclass(frozen=True)
class Charge:
    """The usage of one call."""

    purpose: Purpose
    usage: Usage
    model: str


@dataclass(frozen=True)
class CallFailure:
    """A call failed: what the driver needs to retry it, or to say so."""

    type_name: str
    message: str
    is_temporary: bool
    is_rate_limit: bool
    retry_after: float | None
    description: str


@dataclass(frozen=True)
class Reply:
    """What came of an attempt: a record, or one of the errors.

    Attributes:
        record: The record.
        failure: The failed call.
        error: The name and the message of an error of this package.
        cannot_load: Why the work cannot be loaded here.
        is_over_share: Whether the share of the budget was not enough.
        lacks_shared: Whether the shared parts have to be sent.
        charges: All calls.
        responses: New responses, by key.
        counts: What the callbacks have counted.
        seconds: The duration of the attempt.
    """

    record: PaidRecord | None = None
    failure: CallFailure | None = None
    error: tuple[str, str] | None = None
    cannot_load: str = ""
    is_over_share: bool = False
    lacks_shared: bool = False
    charges: tuple[Charge, ...] = ()
    responses: Mapping[str, JSON] = field(default_factory=dict)
    counts: tuple[Mapping[str, int], ...] = ()
    seconds: float = 0.0

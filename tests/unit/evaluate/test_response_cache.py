from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy import lm15

from pytest_mipro.errors import InfrastructureError, StoreError
from pytest_mipro.evaluate.response_cache import cached_responses
from pytest_mipro.records import Usage
from pytest_mipro.spending import UsageMeter, begin_call
from pytest_mipro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripted import ScriptedEngine

QUESTION = "What is 1 + 1?"


class Engine:
    """Counts its calls, and answers with their number or in another way."""

    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def __init__(self, name: str = "one", *, empty: int = 0) -> None:
        self.name = name
        self.calls = 0
        self._empty = empty

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``; the first answers may be empty."""
        self.calls += 1
        text = "" if self.calls <= self._empty else f"{self.name} {self.calls}"
        return lm15.Response(
            id="r",
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        )

    def dump_state(self) -> dict[str, str]:
        """Return what an answer depends on."""
        return {"name": self.name}


@pytest.fixture
def store() -> Iterator[Store]:
    """Return an empty store."""
    store = Store.in_memory()
    yield store
    store.close()


def lm_of(engine: Engine | ScriptedEngine, **values: Any) -> dspy.LM:
    """Return a model of DSPy that asks ``engine``."""
    return dspy.LM("scripted", engine=engine, **values)


def test_a_paid_response_is_not_paid_again(store: Store) -> None:
    """A later run has it, and its usage is known."""
    engine = Engine()
    with cached_responses(store):
        assert lm_of(engine)(QUESTION) == ["one 1"]
    meter = UsageMeter()
    with cached_responses(store), dspy.context(usage_tracker=meter):
        begin_call("scripted")
        meter.begin_attempt()
        assert lm_of(engine)(QUESTION) == ["one 1"]
    assert engine.calls == store.responses.count() == 1
    assert meter.usage == Usage()
    assert meter.spent == Usage(1, 10, 2)


@pytest.mark.parametrize(
    "values",
    [{"temperature": 0.5}, {"temperature": 1.0, "rollout_id": 1}, {"max_tokens": 7}, {"n": 2}],
    ids=",".join,
)
def test_another_request_is_another_call(store: Store, values: dict[str, Any]) -> None:
    """Its response is apart, and both are read back with all their outputs."""
    engine = Engine()
    with cached_responses(store):
        plain = lm_of(engine)(QUESTION)
        varied = lm_of(engine, **values)(QUESTION)
        assert len(varied) == values.get("n", 1)
        assert plain != varied
        calls = engine.calls
        assert lm_of(engine)(QUESTION) == plain
        assert lm_of(engine, **values)(QUESTION) == varied
    assert engine.calls == calls


def test_two_models_of_one_name_share_nothing(store: Store) -> None:
    """DSPy's own key leaves out the endpoint and the engine."""
    with cached_responses(store):
        assert lm_of(Engine("one"))(QUESTION) == ["one 1"]
        assert lm_of(Engine("two"))(QUESTION) == ["two 1"]
        assert lm_of(Engine("one"))(QUESTION) == ["one 1"]


class Asking(Engine):
    """An engine that asks another model first."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer ``request``."""
        lm_of(Engine("inner"))(QUESTION)
        return super().complete(request)


def test_a_call_within_a_call(store: Store) -> None:
    """Both responses are under their own model."""
    with cached_responses(store):
        assert lm_of(Asking("outer"))(QUESTION) == ["outer 1"]
        assert lm_of(Engine("inner"))(QUESTION) == ["inner 1"]
        again = Asking("outer")
        assert lm_of(again)(QUESTION) == ["outer 1"]
    assert again.calls == 0


def test_an_empty_response_is_asked_again(store: Store) -> None:
    """It is the provider's fault, and the next answer may be one."""
    engine = Engine(empty=1)
    with cached_responses(store):
        assert not lm_of(engine)(QUESTION)[0]
        assert lm_of(engine)(QUESTION) == ["one 2"]


@pytest.mark.parametrize("cache", [False, True])
def test_what_is_not_cached(store: Store, cache: bool) -> None:
    """A model may refuse to be cached, and without a store nothing is."""
    engine = Engine()
    with cached_responses(None if cache else store):
        for _ in range(2):
            lm_of(engine, cache=cache)(QUESTION)
    assert engine.calls == 2
    assert store.responses.count() == 0


def test_asynchronous_calls(store: Store) -> None:
    """They are cached as well."""
    import asyncio

    class AsyncEngine(Engine):
        async def complete(self, request: lm15.Request) -> lm15.Response:  # type: ignore[override]
            return Engine.complete(self, request)

    engine = AsyncEngine()
    lm = dspy.LM("scripted", engine=Engine(), async_engine=engine)
    with cached_responses(store):
        assert [asyncio.run(lm.acall(QUESTION)) for _ in range(2)] == [["one 1"]] * 2
    assert engine.calls == 1


def test_the_users_cache_comes_back() -> None:
    """During a run DSPy has no cache on the disk; afterwards it has what the user set."""
    earlier_cache = vars(dspy).get("cache")
    cache = dspy.clients.Cache(
        enable_disk_cache=False, enable_memory_cache=True, disk_cache_dir=None
    )
    dspy.cache = cache
    try:
        for store in (None, Store.in_memory()):
            with cached_responses(store):
                assert not dspy.cache.enable_disk_cache
                assert dspy.cache is not cache
            assert dspy.cache is cache
    finally:
        vars(dspy).pop("cache")
        if earlier_cache is not None:
            dspy.cache = earlier_cache


def test_a_store_that_cannot_be_used(store: Store) -> None:
    """A call raises it as an error of the infrastructure, not of the program."""
    with cached_responses(store):
        store.responses._connections.reading = refuse  # type: ignore[method-assign]
        with pytest.raises(InfrastructureError, match="gone"):
            lm_of(Engine())(QUESTION)


def refuse() -> Any:
    """Fail as a store without a connection does."""
    message = "the store is gone"
    raise StoreError(message)

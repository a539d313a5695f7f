"""Keep the responses of language models in the store, in place of DSPy's own cache."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import digest
from pytest_mipro.dspy_internals import Cache, replaced_cache, with_model_callbacks
from pytest_mipro.errors import InfrastructureError, StoreError
from pytest_mipro.evaluate.called_model import CalledModels
from pytest_mipro.evaluate.response_content import content_of, response_of
from pytest_mipro.spending import count_cached_response
from pytest_mipro.store import Response

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from pytest_mipro.canonical import JSON
    from pytest_mipro.store import Store

_ENDPOINT = {"api_base", "base_url"}
"""Parts of a request that DSPy leaves out of a key; the description of a model has them."""


@contextmanager
def cached_responses(store: Store | None) -> Generator[None]:
    """Let DSPy take the responses of models from ``store`` and keep new ones there.

    Without a store nothing is cached. DSPy's own cache, which is made of pickles, is off
    either way.

    A call raises InfrastructureError if the store cannot be used.

    Raises:
        StoreError: The last responses cannot be written.
    """
    models = CalledModels()
    with replaced_cache(None if store is None else StoredResponses(store, models)):
        try:
            with dspy.context(callbacks=with_model_callbacks(models)):
                yield
        except BaseException:
            with suppress(StoreError):  # The error that ends the run says more.
                _flush(store)
            raise
        _flush(store)


def _flush(store: Store | None) -> None:
    if store is not None:
        store.responses.flush()


class ResponseCache(Cache):
    """A cache of DSPy whose entries are JSON data.

    A response is kept only if DSPy reads the very same one back from JSON, and only under a
    model whose description is known.
    """

    def __init__(self, models: CalledModels) -> None:
        super().__init__(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)
        self._models = models

    @abstractmethod
    def load(self, key: str) -> JSON:
        """Return the response under ``key``, or None."""

    @abstractmethod
    def keep(self, key: str, content: JSON) -> None:
        """Keep a response, unless there is one under ``key``."""

    def get(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> object:
        """Return the response to ``request``, or None."""
        key = self._key(request, ignored_args_for_cache_key)
        content = None if key is None else self.load(key)
        if content is None:
            return None
        _count(content)
        return response_of(content)

    def put(
        self,
        request: dict[str, Any],
        value: object,
        ignored_args_for_cache_key: list[str] | None = None,
        enable_memory_cache: bool = True,  # ruff: ignore[boolean-type-hint-positional-argument, boolean-default-value-positional-argument, unused-method-argument] - the base class's
    ) -> None:
        """Keep the response to ``request``, unless there is one."""
        content = content_of(value)
        key = None if content is None else self._key(request, ignored_args_for_cache_key)
        if key is not None:
            self.keep(key, content)

    def _key(self, request: dict[str, Any], ignored: list[str] | None) -> str | None:
        """Return the key of a response; None if request or model have no description.

        DSPy's key leaves out the endpoint, although two endpoints may serve the same model name.
        """
        model, ignored = self._models.current, ignored or []
        if model is None:  # An embedding, or the like: its endpoint is in the request.
            ignored = [name for name in ignored if name not in _ENDPOINT]
        description = "" if model is None else self._models.digest_of(model)
        if description is None:
            return None
        try:
            return digest([description, self.cache_key(request, ignored)])
        except Exception:  # ruff: ignore[blind-except] - a dump of any class may raise anything
            return None  # As with DSPy's own cache, it is asked each time.


class StoredResponses(ResponseCache):
    """A cache whose entries are records of a store.

    Beside the responses, the store has an index of those that work on an executor needed: what
    runs there cannot look into the store, so the responses are sent with the work.
    """

    def __init__(self, store: Store, models: CalledModels) -> None:
        super().__init__(models)
        self._store = store
        self._new_pages: Counter[str] = Counter()

    @cached_property
    def _has_pages(self) -> bool:
        """Whether an earlier run may have written pages of the index."""
        with _infrastructure_errors():
            return self._store.responses.count() > 0

    def load(self, key: str) -> JSON:
        """See ``ResponseCache``."""
        with _infrastructure_errors():
            response = self._store.responses.get(key)
        return None if response is None else response.content

    def keep(self, key: str, content: JSON) -> None:
        """See ``ResponseCache``."""
        with _infrastructure_errors():
            self._store.responses.put(Response(key, content))

    def of_calls(self, calls_key: str) -> dict[str, JSON]:
        """Return the responses, by key, that the calls of earlier work needed."""
        # Without the look at what is new, each row of a first run would be a query in vain.
        may_have_pages = calls_key and (self._has_pages or self._new_pages[calls_key])
        pages = self._pages(calls_key) if may_have_pages else ()
        loaded = {key: self.load(key) for page in pages for key in page}
        return {key: content for key, content in loaded.items() if content is not None}

    def keep_calls(self, calls_key: str, new: Mapping[str, JSON]) -> None:
        """Keep responses, and that calls under ``calls_key`` needed them."""
        has_pages = self._has_pages  # Before this run writes any.
        for key, content in new.items():
            self.keep(key, content)
        if calls_key and new:
            pages = len(list(self._pages(calls_key))) if has_pages else 0
            number = max(pages, self._new_pages[calls_key])
            self._new_pages[calls_key] += 1
            self.keep(_page_key(calls_key, number), sorted(new))

    def _pages(self, calls_key: str) -> Iterator[list[str]]:
        """Yield the pages of the index; a page that is written stays, and more come after it."""
        for number in count():
            page = self.load(_page_key(calls_key, number))
            if not isinstance(page, list):
                return
            yield [key for key in page if isinstance(key, str)]


def _page_key(calls_key: str, number: int) -> str:
    return digest([calls_key, number])


@contextmanager
def _infrastructure_errors() -> Generator[None]:
    """Raise an InfrastructureError for a StoreError; DSPy would report one of the model."""
    try:
        yield
    except StoreError as error:
        raise InfrastructureError(str(error)) from error


def _count(content: object) -> None:
    """Report the usage of a response that was paid for earlier."""
    usage = content.get("usage") if isinstance(content, dict) else None
    if isinstance(usage, dict):
        count_cached_response(usage)

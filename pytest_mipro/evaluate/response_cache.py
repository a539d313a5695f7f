"""Keep the responses of language models in the store, in place of DSPy's own cache."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dspy

from pytest_mipro.canonical import digest
from pytest_mipro.dspy_internals import Cache, replaced_cache
from pytest_mipro.errors import InfrastructureError, StoreError
from pytest_mipro.evaluate.called_model import CalledModels
from pytest_mipro.evaluate.response_content import content_of, response_of
from pytest_mipro.spending import count_cached_response
from pytest_mipro.store import Response

if TYPE_CHECKING:
    from collections.abc import Generator

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
    with replaced_cache(None if store is None else _StoredResponses(store, models)):
        try:
            with dspy.context(callbacks=[*dspy.settings.callbacks, models]):
                yield
        except BaseException:
            with suppress(StoreError):  # The error that ends the run says more.
                _flush(store)
            raise
        _flush(store)


def _flush(store: Store | None) -> None:
    if store is not None:
        store.responses.flush()


class _StoredResponses(Cache):
    """A cache of DSPy whose entries are records of a store.

    A response is kept only if DSPy reads the very same one back from JSON, and only under a
    model whose description is known.
    """

    def __init__(self, store: Store, models: CalledModels) -> None:
        super().__init__(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)
        self._store = store
        self._models = models

    def get(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> object:
        """Return the stored response to ``request``, or None."""
        key = self._key(request, ignored_args_for_cache_key)
        if key is None:
            return None
        with _infrastructure_errors():
            response = self._store.responses.get(key)
        if response is None:
            return None
        _count(response.content)
        return response_of(response.content)

    def put(
        self,
        request: dict[str, Any],
        value: object,
        ignored_args_for_cache_key: list[str] | None = None,
        enable_memory_cache: bool = True,  # ruff: ignore[boolean-type-hint-positional-argument, boolean-default-value-positional-argument, unused-method-argument] - the base class's
    ) -> None:
        """Store the response to ``request``, unless one is stored."""
        content = content_of(value)
        key = None if content is None else self._key(request, ignored_args_for_cache_key)
        if key is not None:
            with _infrastructure_errors():
                self._store.responses.put(Response(key, content))

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

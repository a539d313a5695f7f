"""``optimizer="knn"``: the most similar labelled examples as demos of each question.

A compiled program holds no demos; ``dspy.KNNFewShot`` builds a program of this kind in plain
DSPy, from the same examples.
"""

from __future__ import annotations

import threading
import types
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from dspy import KNN

from pytest_mipro.canonical import digest
from pytest_mipro.errors import DeclarationError
from pytest_mipro.fingerprint import SHAPE, function_key
from pytest_mipro.optimize.bound import Bound
from pytest_mipro.optimize.optimizer import CompileResult
from pytest_mipro.optimize.teleprompter import refuse_async_programs, refuse_unknown_options
from pytest_mipro.records import Usage
from pytest_mipro.task import example_digest, isolated_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dspy
    import numpy as np
    from numpy.typing import NDArray

    from pytest_mipro.canonical import JSON
    from pytest_mipro.optimize.bound import CallProfile
    from pytest_mipro.optimize.optimizer import CompileRequest, Optimizer
    from pytest_mipro.task import OptimizerChoice, Task

    Vectorizer = Callable[[Sequence[str]], Any]

_NEIGHBOURS = 3
_DIMENSIONS = 4096
_LETTERS = 3


def optimizer(choice: OptimizerChoice) -> Optimizer:
    """Return nearest-neighbour demos, with ``k`` of them and an own ``vectorizer`` if given.

    Raises:
        DeclarationError: An option is unknown or cannot be used.
    """
    refuse_unknown_options(choice, ["k", "vectorizer"])
    k, vectorizer = choice.options.get("k", _NEIGHBOURS), choice.options.get("vectorizer")
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        message = f"optimizer_options={{'k': {k!r:.80}}}: expected a number of at least 1"
        raise DeclarationError(message)
    if vectorizer is not None and not callable(vectorizer):
        message = (
            f"optimizer_options={{'vectorizer': {vectorizer!r:.80}}}: expected a dspy.Embedder, "
            "or a function from a list of texts to a matrix"
        )
        raise DeclarationError(message)
    return NearestDemos(k, vectorizer or letter_counts)


@dataclass(frozen=True)
class NearestDemos:
    """Gives a program, for each question, the most similar examples as demos.

    Attributes:
        k: The number of demos.
        vectorizer: Returns a vector for each text; similar texts have a large product.
        runs: See ``Optimizer``.
    """

    k: int
    vectorizer: Vectorizer
    runs: int = 1

    def compile(self, request: CompileRequest) -> CompileResult:
        """See ``Optimizer``: nothing is to be learned before a question is asked."""
        refuse_async_programs("knn", request.task)
        return CompileResult(self.shape(request.task), Usage())

    def shape(self, task: Task) -> dspy.Module:
        """See ``Optimizer``."""
        program = isolated_copy(task.program)
        examples = [*task.dataset.train, *task.dataset.val]
        lock = threading.Lock()

        @cache
        def index() -> KNN:
            # DSPy does not ask for more of an embedder than to be called.
            vectorizer = cast("dspy.Embedder", self.vectorizer)
            return KNN(min(self.k, len(examples)), examples, vectorizer)

        def forward(_: dspy.Module, **inputs: Any) -> Any:  # ruff: ignore[any-type] - the user's
            demonstrated = task.program.deepcopy()
            with lock:  # A vectorizer may cost calls: it gets the examples once, if at all.
                nearest = index()
            demos = nearest(**inputs)
            for predictor in demonstrated.predictors():
                predictor.demos = [*demos]
            return demonstrated(**inputs)

        vars(program)["forward"] = types.MethodType(forward, program)
        vectorizer = function_key(self.vectorizer, task.version)
        content: list[JSON] = ["knn", self.k, vectorizer, *map(example_digest, examples)]
        setattr(program, SHAPE, digest(content))
        return program

    def bounds(self, _: Task, profile: CallProfile) -> tuple[Bound, ...]:
        """See ``Optimizer``."""
        return (Bound("optimize", 0, 0, profile.model),)


def letter_counts(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return, for each text, the frequencies of its groups of three letters, as a unit vector."""
    import numpy as np

    matrix = np.zeros((len(texts), _DIMENSIONS), dtype=np.float32)
    for index, text in enumerate(texts):
        letters = text.casefold()
        for start in range(max(1, len(letters) - _LETTERS + 1)):
            group = letters[start : start + _LETTERS].encode("utf-8", "surrogatepass")
            matrix[index, zlib.crc32(group) % _DIMENSIONS] += 1
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1)
    return matrix

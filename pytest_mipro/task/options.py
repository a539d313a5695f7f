"""The options of a search, and the check of the values that a test declares for them."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from pytest_mipro.errors import DeclarationError

Count: TypeAlias = Annotated[int, Field(ge=0)]
Size: TypeAlias = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Options:
    """The options of a search; all but ``rounds`` have names and defaults of ``dspy.MIPROv2``.

    Attributes:
        auto: The size of the search; None takes ``num_candidates`` and
            ``num_trials`` instead.
        num_candidates: Instructions and demo sets per predictor.
        num_trials: Candidates that the sampler proposes.
        max_bootstrapped_demos: The most demos per set from traces.
        max_labeled_demos: The most demos per set from training rows.
        seed: The seed of every draw; the same seed gives the same artifact.
        init_temperature: The temperature of the prompt model while proposing.
        metric_threshold: The least score of a trace that becomes a demo; None
            takes traces with any truthy score.
        minibatch: Measure trials on ``minibatch_size`` rows instead of all.
        minibatch_size: The most validation rows that one trial is measured on.
        view_data_batch_size: Training rows per batch of the data summary.
        program_aware_proposer: Show the program's code to the prompt model.
        data_aware_proposer: Show it a summary of the training rows.
        tip_aware_proposer: Show it a style tip per instruction.
        fewshot_aware_proposer: Show it demos.
        rounds: The most rounds of instructions that are written from mistakes on training
            rows; None leaves it to ``auto``, and without that there are none.
    """

    auto: Literal["light", "medium", "heavy"] | None = "light"
    num_candidates: Size | None = None
    num_trials: Size | None = None
    max_bootstrapped_demos: Count = 4
    max_labeled_demos: Count = 4
    seed: int = 9
    init_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    metric_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    minibatch: bool = True
    minibatch_size: Size = 35
    view_data_batch_size: Size = 10
    program_aware_proposer: bool = True
    data_aware_proposer: bool = True
    tip_aware_proposer: bool = True
    fewshot_aware_proposer: bool = True
    rounds: Count | None = None

    @classmethod
    def checked(cls, **values: Any) -> Options:  # ruff: ignore[any-type] - this checks the types
        """Check declared values and return them as options.

        Raises:
            DeclarationError: A value is of a wrong type or out of range.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            details = error.errors()[0]
            message = f"{details['loc'][0]}={details['input']!r:.80}: {details['msg']}"
            raise DeclarationError(message) from error

    @property
    def zero_shot(self) -> bool:
        """Whether the search is for instructions alone, and the artifact has no demos."""
        return self.max_bootstrapped_demos == 0 and self.max_labeled_demos == 0

    def refuse_contradictions(self) -> None:
        """Raise DeclarationError if ``auto`` and the explicit sizes contradict each other."""
        if self.auto is not None and not (self.num_candidates is None and self.num_trials is None):
            message = (
                f"auto={self.auto!r} sets num_candidates and num_trials itself; "
                "leave them out, or set auto=None"
            )
            raise DeclarationError(message)
        if self.auto is None and self.num_candidates is None:
            message = "auto=None needs num_candidates and num_trials"
            raise DeclarationError(message)


OPTION_NAMES = tuple(option.name for option in fields(Options))

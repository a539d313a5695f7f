"""All exceptions of this package, in one tree.

::

    MiproError
    ├── DeclarationError            what the user declared cannot be used
    │   ├── DatasetError            the rows: unreadable, overlapping, empty
    │   ├── ExecutorError           work cannot be sent to an executor, or not loaded there
    │   ├── ModelError              no model, or not one that can be called
    │   │   └── LocalModelMissing   the embedded model is not installed
    │   └── FingerprintError        content that cannot be identified
    ├── BudgetExceeded              a budget is spent, and there is no verdict yet
    ├── InfrastructureError         the provider or the network, not the program
    ├── MetricError                 the metric raised or returned no score
    ├── OptimizerError              an optimizer failed, or returned what cannot be stored
    ├── ProgramError                the program is broken, or fails more often than allowed
    ├── ReferenceFileError          an accepted reference is missing, stale or of another program
    │   └── DamagedReference        its files exist and cannot be used
    └── StoreError                  the store cannot be read or written

A message names the subject, its value, the expected value and the next step; pytest
shows it without a traceback.
"""


class MiproError(Exception):
    """An error that prevents a verdict; it is never turned into a score."""


class DeclarationError(MiproError, ValueError):
    """A task was declared in a way that cannot be carried out."""


class DatasetError(DeclarationError):
    """A dataset cannot be read, split or trusted."""


class ModelError(DeclarationError):
    """No language model was named, or the one named cannot be built."""


class LocalModelMissing(ModelError):
    """The embedded model or its runtime is not installed."""


class ExecutorError(DeclarationError):
    """What rows need cannot be sent to the user's executor, or its workers cannot load it."""


class FingerprintError(DeclarationError):
    """An object that the result depends on cannot be identified by its content."""


class BudgetExceeded(MiproError):
    """A budget was spent before the held-out examples were scored; a later run goes on.

    Attributes:
        limit: The limit that was reached, as the user set it.
    """

    def __init__(self, message: str, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class InfrastructureError(MiproError):
    """A language model call failed, and the program is not the cause.

    The code that has the store and the command line sets the attributes.

    Attributes:
        stored: How many rows the store has; None if they were not counted.
        command: The command that continues the run; empty for the same command.
        starts_over: Why the next run starts over; empty if it continues.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.stored: int | None = None
        self.command = ""
        self.starts_over = ""

    def __str__(self) -> str:
        if self.starts_over:
            return f"{super().__str__()}\nthis is no score; {self.starts_over}"
        held = "" if self.stored is None else f" in the store, which holds {self.stored} rows"
        command = f"`{self.command}`" if self.command else "the same command"
        return (
            f"{super().__str__()}\n"
            f"this is no score; everything finished so far is safe{held}, and {command} goes on "
            "from there"
        )


class MetricError(MiproError):
    """The metric raised, or returned a value that is no score."""


class OptimizerError(MiproError):
    """An optimizer failed, changed the baseline, or returned what no state can hold."""


class ProgramError(MiproError):
    """The program failed on more rows than the user allowed, or on most of them alike."""


class ReferenceFileError(MiproError):
    """An accepted reference is missing, out of date, or not written by this package."""


class DamagedReference(ReferenceFileError):
    """The files of a reference exist but cannot be read; accepting again replaces them."""


class StoreError(MiproError):
    """The store cannot be opened, read or written."""

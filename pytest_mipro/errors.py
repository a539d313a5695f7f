"""
Everything this package raises, in one tree.

::

    MiproError
    ├── DeclarationError            what the user declared cannot be used
    │   ├── DatasetError            the rows: unreadable, overlapping, empty
    │   ├── ModelError              no model, or not one we can call
    │   │   └── LocalModelMissing   the embedded model is not installed
    │   └── FingerprintError        content that cannot be identified
    ├── BudgetExceeded              a budget is spent, and there is no verdict yet
    ├── InfrastructureError         the provider or the network, not the program
    ├── MetricError                 the metric raised or returned no score
    ├── ProgramError                the program is broken, or fails more often than was allowed
    ├── ReferenceFileError          an accepted reference is missing, stale or not ours
    │   └── DamagedReference        its files are there and cannot be used
    └── StoreError                  the store cannot be read or written

A message names the thing, the value that was found, what was expected, and
the next step; it is written to be shown without a traceback.
"""


class MiproError(Exception):
    """Anything that prevents a verdict; never turned into a score."""


class DeclarationError(MiproError, ValueError):
    """A task was declared in a way that cannot be carried out."""


class DatasetError(DeclarationError):
    """A dataset cannot be read, split or trusted."""


class ModelError(DeclarationError):
    """No language model was named, or the one named cannot be built."""


class LocalModelMissing(ModelError):
    """The embedded model or its runtime is not installed."""


class FingerprintError(DeclarationError):
    """Something that decides the result cannot be identified by its content."""


class BudgetExceeded(MiproError):
    """
    A budget was spent before the held-out examples were scored; a later run goes on.

    Attributes:
        limit: What was reached, as the user set it.

    """

    def __init__(self, message: str, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class InfrastructureError(MiproError):
    """
    A language model call failed for a reason the program is not to blame for.

    Whoever knows the store and the command line fills in the attributes.

    Attributes:
        stored: How many rows the store holds; None if nobody has counted.
        command: The command that goes on from there; empty for the one that was given.
        starts_over: Why the next attempt begins anew; empty where it goes on.

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
    """The metric raised, or returned something that is not a score."""


class ProgramError(MiproError):
    """The program failed on more rows than the user allowed, or on most of them alike."""


class ReferenceFileError(MiproError):
    """An accepted reference is needed and missing, out of date, or not one of ours."""


class DamagedReference(ReferenceFileError):
    """The files of a reference are there and do not hold one; accepting anew replaces them."""


class StoreError(MiproError):
    """The store cannot be opened, read or written."""

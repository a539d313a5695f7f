"""
Everything this package raises, in one tree.

::

    MiproError
    ├── DeclarationError            what the user declared cannot be used
    │   ├── DatasetError            the rows: unreadable, overlapping, empty
    │   ├── ModelError              no model, or not one we can call
    │   │   └── LocalModelMissing   the embedded model is not installed
    │   └── FingerprintError        content that cannot be identified
    ├── InfrastructureError         the provider or the network, not the program
    ├── MetricError                 the metric raised or returned no score
    ├── ProgramError                the program fails more often than was allowed
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


class InfrastructureError(MiproError):
    """A language model call failed for a reason the program is not to blame for."""


class MetricError(MiproError):
    """The metric raised, or returned something that is not a score."""


class ProgramError(MiproError):
    """The program failed on more rows than the user allowed."""


class StoreError(MiproError):
    """The store cannot be opened, read or written."""

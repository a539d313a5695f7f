from .database import Store as Store
from .lock import CompileLock as CompileLock
from .response import Response as Response
from .seal import SEAL_VARIABLE as SEAL_VARIABLE
from .seal import Seal as Seal
from .seal import environment_seal as environment_seal
from .seal import has_seal_key as has_seal_key
from .tables import RecordTable as RecordTable

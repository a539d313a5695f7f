from .database import Store as Store
from .lock import CompileLock as CompileLock
from .tables import RecordTable as RecordTable

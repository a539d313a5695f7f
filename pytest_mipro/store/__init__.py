"""The durable database of everything that was paid for."""

from pytest_mipro.store.database import Store
from pytest_mipro.store.lock import CompileLock
from pytest_mipro.store.tables import RecordTable

__all__ = ["CompileLock", "RecordTable", "Store"]

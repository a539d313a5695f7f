"""The durable database of everything that was paid for."""

from pytest_mipro.store.database import Shelf, Store
from pytest_mipro.store.lease import Lease

__all__ = ["Lease", "Shelf", "Store"]

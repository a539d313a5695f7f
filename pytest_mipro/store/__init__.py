"""The durable database of everything that was paid for."""

from pytest_mipro.store.database import Store
from pytest_mipro.store.lease import Lease
from pytest_mipro.store.shelf import Shelf

__all__ = ["Lease", "Shelf", "Store"]

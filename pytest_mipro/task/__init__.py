"""The room `task`."""

"""The room `reference`."""

"""The room `spending`."""

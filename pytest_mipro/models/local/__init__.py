"""The room `models/local`."""

"""The room `optimize/mipro`."""

from .local.line_adapter import LineAdapter as LineAdapter
from .resolve import ModelSpec as ModelSpec
from .resolve import resolve_model as resolve_model

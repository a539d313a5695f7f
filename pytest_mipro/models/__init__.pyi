from .local.line_adapter import LineAdapter as LineAdapter
from .resolution import ModelSpec as ModelSpec
from .resolution import resolve_model as resolve_model

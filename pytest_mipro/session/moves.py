"""How the model, the adapter and DSPy differ from those that a reference was accepted under."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from pytest_mipro.errors import ReferenceFileError
from pytest_mipro.fingerprint import adapter_name, rendering_key
from pytest_mipro.session.program_state import restore_accepted

if TYPE_CHECKING:
    from pytest_mipro.reference import Reference
    from pytest_mipro.session.context import TaskContext

_DSPY = "dspy"


def moves_in_words(context: TaskContext) -> str:
    """Return what answers and renders in another way than at the acceptance; empty if nothing.

    Such as ``model openai/a -> openai/b; DSPy 3.4.1 -> 3.5.0 renders prompts differently``.
    """
    reference, task = context.reference, context.task
    if reference is None:
        return ""
    clauses = []
    if reference.model != task.lm.model:
        clauses.append(f"model {reference.model} -> {task.lm.model}")
    renderers = _renderers(reference, adapter_name(task.adapter))
    if renderers:
        verb = "render" if len(renderers) > 1 else "renders"
        clauses.append(f"{' and '.join(renderers)} {_rendering(context, reference, verb)}")
    return "; ".join(clauses)


def _renderers(reference: Reference, adapter: str) -> list[str]:
    """Return what renders prompts and is another one now."""
    accepted, present = reference.versions.get(_DSPY, "(unknown)"), version(_DSPY)
    renderers = []
    if accepted != present:
        renderers.append(f"DSPy {accepted} -> {present}")
    if reference.adapter != adapter:
        renderers.append(f"adapter {reference.adapter} -> {adapter}")
    return renderers


def _rendering(context: TaskContext, reference: Reference, verb: str) -> str:
    """Return how the accepted program's prompts are rendered now."""
    try:
        program = restore_accepted(reference, context.task, context.location)
    except ReferenceFileError:  # A test that uses the accepted program raises it.
        return "may render prompts differently"
    rendering = rendering_key(program, context.task.adapter)
    if not rendering or not reference.rendering:
        return "may render prompts differently"
    if rendering == reference.rendering:
        return f"{verb} the accepted prompts as before"
    return f"{verb} prompts differently"

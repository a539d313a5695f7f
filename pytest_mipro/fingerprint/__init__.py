"""
What a result depends on, by content: named parts, one key, changes in words.

``keys.py`` puts the keys together; read it first. ``parts.py`` is a key's named
parts and how they differ. ``follow.py`` walks from declared objects through the
user's code: ``source.py`` says what code is, ``reach.py`` what it refers to,
``values.py`` what a value is by content. ``models.py`` and ``programs.py`` do
the same for the objects of DSPy.
"""

from pytest_mipro.fingerprint.keys import ALGORITHM, adapter, model, of_answers, of_evaluation, of_metric, of_prompts, of_task
from pytest_mipro.fingerprint.changes import Fingerprint
from pytest_mipro.fingerprint.programs import demo_fields, prompts, signature_of
from pytest_mipro.fingerprint.source import location

__all__ = [
    "ALGORITHM",
    "Fingerprint",
    "adapter",
    "demo_fields",
    "location",
    "model",
    "of_answers",
    "of_evaluation",
    "of_metric",
    "of_prompts",
    "of_task",
    "prompts",
    "signature_of",
]

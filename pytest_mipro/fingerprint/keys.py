"""The keys of a task, a row, a prediction and a prompt, from all content that can change them."""

from __future__ import annotations

from functools import lru_cache, singledispatch
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pytest_mipro.canonical import digest, plain
from pytest_mipro.errors import FingerprintError
from pytest_mipro.fingerprint import models, programs, values
from pytest_mipro.fingerprint.changes import DECLARED, Fingerprint
from pytest_mipro.fingerprint.code_walker import CodeWalker
from pytest_mipro.fingerprint.dspy_settings import describe_settings, effective_adapter
from pytest_mipro.fingerprint.ownership import counted_as_users
from pytest_mipro.fingerprint.parts import Kind, Part, by_text
from pytest_mipro.fingerprint.program_walk import ProgramWalk, key_once, walk_program
from pytest_mipro.task import DEFAULT_OPTIMIZER, OPTION_NAMES, example_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import dspy

    from pytest_mipro.canonical import JSON
    from pytest_mipro.fingerprint.code_walker import Describe
    from pytest_mipro.task import Metric, OptimizerChoice, Task

version = lru_cache(metadata.version)
"""The version of an installed package, which the library reads from a long file each time."""
ALGORITHM = 10
"""The version of the search; a change that can give another artifact raises it by one."""

SHAPE = "mipro_shape"
"""Attribute of a compiled program that is more than the task's program in another state: the
digest of what else decides its answers."""
_TEACHER = "teacher"
"""The owner of the parts of a teacher's predictors."""
_PREDICTOR_KINDS = {
    "instruction": Kind.INSTRUCTION,
    "fields": Kind.FIELDS,
    "demos": Kind.DEMOS,
    "config": Kind.CONFIG,
    "model": Kind.PREDICTOR_MODEL,
}


def _content_describer() -> Describe:
    describe = singledispatch(values.describe_object)
    for describers in (values.DESCRIBERS, models.DESCRIBERS, programs.DESCRIBERS):
        for cls, function in describers.items():
            describe.register(cls, function)
    return describe


_describe_content = _content_describer()


def task_fingerprint(task: Task, extra: Mapping[str, object] | None = None) -> Fingerprint:
    """Return the compile fingerprint: everything that can change the artifact.

    Args:
        task: The task.
        extra: Further parts by name, such as those of other plugins.

    Raises:
        FingerprintError: A value that can change the artifact has no content
            to hash, and the task declares no ``version``.
    """
    walk = walk_program(task.program, _walker(task.version), task.version)
    walker = walk.walker
    with counted_as_users(task.metric):
        walker.add_metric(task.metric)
    parts: dict[Part, JSON] = {
        **_program_parts(walk),
        **_teacher_parts(task, walker),
        **_model_parts(task, walker),
        Part(Kind.ADAPTER): walker.describe(effective_adapter(task.adapter), "adapter"),
        **{Part(Kind.SETTING, name): value for name, value in describe_settings(walker).items()},
        **_optimizer_parts(task, walker),
        **_row_parts(task),
        **_version_parts(task),
        **{Part(Kind.EXTRA, name): _extra(name, value) for name, value in (extra or {}).items()},
        **walker.parts,
    }
    locations = {**walker.locations, **dict(_predictor_locations(parts, walker.locations))}
    digests = {part: digest(content) for part, content in parts.items()}
    return Fingerprint(digests, locations, walker.hints, walker.unversioned)


def evaluation_key(
    program: dspy.Module,
    metric: Metric,
    lm: dspy.BaseLM,
    row_adapter: dspy.Adapter | None,
    declared: str | None = None,
) -> str:
    """Return the key that all rows of a task share: code, metric, model and adapter.

    Raises:
        FingerprintError: As ``task_fingerprint``.
    """
    answers = predictions_key(program, lm, row_adapter, declared)
    return digest([answers, metric_key(metric, declared)])


def metric_key(metric: Metric, declared: str | None = None) -> str:
    """Return the key of a metric.

    Raises:
        FingerprintError: As ``task_fingerprint``.
    """
    return key_once(_metric_key, metric, declared)


def _metric_key(metric: Metric, declared: str | None) -> str:
    walker = _walker(declared)
    with counted_as_users(metric):
        walker.add_metric(metric)
    return digest([by_text(walker.parts), declared])


def function_key(function: Callable[..., object], declared: str | None = None) -> str:
    """Return the key of a function: its code, and the code and values that it reaches.

    Raises:
        FingerprintError: As ``task_fingerprint``.
    """
    return metric_key(function, declared)


def predictions_key(
    program: dspy.Module,
    lm: dspy.BaseLM,
    row_adapter: dspy.Adapter | None,
    declared: str | None = None,
) -> str:
    """Return the key that all predictions of a task share, under any metric.

    Raises:
        FingerprintError: As ``task_fingerprint``.
    """
    return key_once(_predictions_key, program, lm, row_adapter, declared)


def _predictions_key(
    program: dspy.Module,
    lm: dspy.BaseLM,
    row_adapter: dspy.Adapter | None,
    declared: str | None,
) -> str:
    walk = walk_program(program, _walker(declared), declared)
    walker = walk.walker
    content: dict[str, JSON] = {
        "modules": [walk.modules, walk.states],
        "model": walker.describe(lm, "model"),
        "adapter": walker.describe(effective_adapter(row_adapter), "adapter"),
        "settings": describe_settings(walker),
        "version": declared,
        "dspy": version("dspy"),
    }
    return digest({**content, "code": by_text(walker.parts)})


def prompts_key(program: dspy.Module) -> str:
    """Return the key of the predictors of ``program``, which a search changes."""
    walker = _lenient_walker()
    shape: list[str] = [vars(program)[SHAPE]] if SHAPE in vars(program) else []
    with counted_as_users(program):
        predictors = programs.describe_predictors(program, walker)
    return digest([predictors, by_text(walker.parts), *shape])


def describe_model(lm: dspy.BaseLM) -> dict[str, JSON]:
    """Describe the model and how it samples, without credentials."""
    return _description(lm, "model")


def describe_adapter(value: dspy.Adapter | None) -> dict[str, JSON] | None:
    """Describe the class and the attributes of an adapter."""
    return None if value is None else _description(value, "adapter")


def _walker(declared: str | None) -> CodeWalker:
    """Return a walker that is lenient if the user declares a version."""
    return CodeWalker(_describe_content, lenient=declared is not None)


def _lenient_walker() -> CodeWalker:
    return CodeWalker(_describe_content, lenient=True)


def _description(value: dspy.BaseLM | dspy.Adapter, label: str) -> dict[str, JSON]:
    walker = _lenient_walker()
    description = walker.describe(value, label)
    assert isinstance(description, dict)
    return {**description, "code": by_text(walker.parts)} if walker.parts else description


def _extra(name: str, value: object) -> JSON:
    try:
        return plain(value)
    except FingerprintError as error:
        message = f"the part {name!r} that pytest_mipro_fingerprint adds to the key: {error}"
        raise FingerprintError(message) from error


def _program_parts(walk: ProgramWalk, owner: str = "") -> dict[Part, JSON]:
    predictors = programs.describe_predictors(walk.program, walk.walker)
    return {
        Part(Kind.MODULES, owner): walk.modules,
        **{Part(Kind.STATE, name, owner): content for name, content in walk.states.items()},
        **{
            Part(_PREDICTOR_KINDS[field], name, owner): content
            for name, description in predictors.items()
            for field, content in description.items()
        },
    }


def _teacher_parts(task: Task, walker: CodeWalker) -> dict[Part, JSON]:
    if task.teacher is None:
        return {}
    with counted_as_users(task.teacher):
        modules, states = programs.describe_program(task.teacher, walker)
        return _program_parts(ProgramWalk(task.teacher, modules, states, walker), _TEACHER)


def _model_parts(task: Task, walker: CodeWalker) -> dict[Part, JSON]:
    return {
        Part(Kind.MODEL): walker.describe(task.lm, "model"),
        Part(Kind.MODEL, "prompt"): walker.describe(task.prompt_lm, "prompt model"),
        Part(Kind.MODEL, _TEACHER): walker.describe(task.teacher_lm, "teacher model"),
    }


def _optimizer_parts(task: Task, walker: CodeWalker) -> dict[Part, JSON]:
    """Return the optimizer and its options; those of MIPROv2 matter to no other optimizer."""
    choice = task.optimizer
    is_mipro = choice.spec == DEFAULT_OPTIMIZER
    names = OPTION_NAMES if is_mipro else ("seed",)
    return {
        Part(Kind.OPTIMIZER): _optimizer_identity(choice, walker),
        **{Part(Kind.OPTION, name): getattr(task.options, name) for name in names},
        **{
            Part(Kind.OPTIMIZER, name): walker.describe(value, f"optimizer {name}")
            for name, value in choice.settings.items()
        },
        **{
            Part(Kind.OPTIMIZER, f"hook {index}"): walker.describe(function, "optimizer hook")
            for index, function in enumerate(choice.hook_functions)
        },
    }


def _optimizer_identity(choice: OptimizerChoice, walker: CodeWalker) -> JSON:
    if isinstance(choice.spec, str):
        return choice.spec
    cls = choice.spec if isinstance(choice.spec, type) else type(choice.spec)
    return walker.describe(cls, "optimizer")


def _row_parts(task: Task) -> dict[Part, JSON]:
    splits = {"train": task.dataset.train, "val": task.dataset.val}
    return {
        Part(Kind.ROW, example_digest(row)[:12], split): index
        for split, rows in splits.items()
        for index, row in enumerate(rows)
    }


def _version_parts(task: Task) -> dict[Part, JSON]:
    return {
        Part(Kind.VERSION, "DSPy"): version("dspy"),
        Part(Kind.VERSION, "Optuna"): version("optuna"),
        Part(Kind.VERSION, "algorithm"): ALGORITHM,
        Part(Kind.VERSION, DECLARED): task.version,
    }


def _predictor_locations(
    parts: Mapping[Part, Any], locations: Mapping[Part, str]
) -> Iterator[tuple[Part, str]]:
    """Yield the locations of the signatures that predictors' instructions and fields are from."""
    signatures = [
        (locations[part], *content)
        for part, content in parts.items()
        if part.kind is Kind.SIGNATURE and part in locations
    ]
    for fields, content in parts.items():
        if fields.kind is not Kind.FIELDS:
            continue
        instruction = Part(Kind.INSTRUCTION, fields.name, fields.owner)
        # Not equal fields: DSPy adds fields to a signature, such as the reasoning.
        candidates = [
            (location, text)
            for location, text, signature_fields in signatures
            if all(field in content for field in signature_fields)
        ]
        exact = [location for location, text in candidates if text == parts[instruction]]
        if exact:
            yield from ((instruction, exact[0]), (fields, exact[0]))
        elif len(candidates) == 1:
            yield fields, candidates[0][0]

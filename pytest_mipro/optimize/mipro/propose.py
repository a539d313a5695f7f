"""
Instructions: the second phase of MIPROv2.

The prompt model writes instructions grounded in what it is shown: a summary
of the training data, the program's code and what each predictor does in it,
demos, the present instruction, and a tip on style that keeps the proposals
apart (Opsahl-Ong et al., 2024, section 3.1). The data, the program and each
predictor are described once, not once per instruction, and what does not
wait for an answer runs side by side.
"""

from __future__ import annotations

import inspect
import json
import logging
import random
import re
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError

from pytest_mipro import fingerprint
from pytest_mipro.canonical import digest, plain
from pytest_mipro.evaluate import StoredWork, gather, retry_lm_errors
from pytest_mipro.records import Proposal
from pytest_mipro.spending import UsageMeter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterator, Sequence

    from pytest_mipro.evaluate import WorkerPool
    from pytest_mipro.optimize.mipro.bootstrap import Draft
    from pytest_mipro.store import Store
    from pytest_mipro.task import Options

logger = logging.getLogger(__name__)

BATCHES = 10
"""Most batches of training rows the data summary looks at."""
_DEMOS_SHOWN = 3
_TIPS = (
    "",
    "Be inventive: approach the task from an angle the present instruction does not take.",
    "Be brief: a short instruction without ornament.",
    "Be thorough: name everything a careful worker would need to know.",
    "Raise the stakes: describe a situation in which a right answer matters a great deal.",
    "Assign a role: say who the model should be to answer well.",
)
_LABEL = re.compile(r"^\W*(?:proposed |new |improved )?instructions?\W*:[*\s]*", re.IGNORECASE)


class ObserveData(dspy.Signature):
    """
    Look at these examples from a dataset and write down what holds for most of them.

    Say in two or three sentences what kind of task they are for, what the inputs and outputs
    look like, and what a solver has to watch out for.
    """

    examples: str = dspy.InputField()
    observations: str = dspy.OutputField()


class DescribeProgram(dspy.Signature):
    """Explain what task this language model program solves and how it goes about it."""

    program_code: str = dspy.InputField()
    program_example: str = dspy.InputField(desc="an input of the program with the wanted output")
    program_description: str = dspy.OutputField()


class DescribeModule(dspy.Signature):
    """Explain what part one module plays in this language model program."""

    program_code: str = dspy.InputField()
    module: str = dspy.InputField(desc="the module to explain")
    module_description: str = dspy.OutputField()


class WriteInstruction(dspy.Signature):
    """Use what you are told about a task to write a better instruction for whoever solves it."""

    dataset_description: str = dspy.InputField()
    program_code: str = dspy.InputField()
    program_description: str = dspy.InputField()
    module: str = dspy.InputField(desc="the module the instruction is for")
    module_description: str = dspy.InputField()
    task_demos: str = dspy.InputField(desc="calls of the module that went well")
    present_instruction: str = dspy.InputField()
    tip: str = dspy.InputField(desc="how to go about writing the instruction")
    proposed_instruction: str = dspy.OutputField(desc="the instruction, and nothing else")


@dataclass(frozen=True)
class PromptModel:
    """
    Who writes instructions.

    Attributes:
        lm: The language model.
        adapter: Renders what it is asked; None is the caller's.
        temperature: Sampling temperature while writing instructions.

    """

    lm: dspy.BaseLM
    adapter: dspy.Adapter | None
    temperature: float


@dataclass(frozen=True)
class Briefing:
    """
    What is known about the task, for every instruction to be written.

    Attributes:
        data: A summary of the training data.
        program: What the program does.
        modules: What each predictor does in it.

    """

    data: str
    program: str
    modules: tuple[str, ...]


class Propose:
    """Has the prompt model write instructions for a student."""

    def __init__(  # ruff: ignore[too-many-arguments] - the parts a phase is made of
        self,
        *,
        model: PromptModel,
        student: dspy.Module,
        trainset: Sequence[dspy.Example],
        options: Options,
        store: Store,
        workers: WorkerPool,
    ) -> None:
        """
        Prepare to ask ``model``.

        Args:
            model: The prompt model.
            student: The program the instructions are for.
            trainset: What the data summary is made from.
            options: Which sources the proposals are grounded in.
            store: Where answers are kept.
            workers: Where the model is asked.

        """
        self._model = model
        self._student = student
        self._trainset = trainset
        self._options = options
        self._once: StoredWork[Proposal] = StoredWork(store.proposals, workers)
        self._code = program_code(student) if options.program_aware_proposer else ""

    async def brief(self, count: int) -> Briefing:
        """
        Have the data, the program and its predictors described, each once.

        Args:
            count: Instructions per predictor; nobody is asked for the sake of
                one, which is the predictor's own.

        """
        if count == 1:
            return Briefing("", "", ())
        data = self._observations()
        program = self._descriptions()
        answers = await gather([*data, *program])
        described = answers[len(data) :] or ["", *("" for _ in self._modules())]
        observed = "\n\n".join(filter(None, answers[: len(data)]))
        return Briefing(observed, described[0], tuple(described[1:]))

    async def instructions(
        self,
        briefing: asyncio.Future[Briefing],
        drafts: Sequence[asyncio.Future[Draft]],
        count: int,
    ) -> tuple[tuple[str, ...], ...]:
        """
        Return per predictor its own instruction and up to ``count - 1`` new ones.

        Answers that are empty, unreadable or repeat another are left out.

        Args:
            briefing: What ``brief`` comes to.
            drafts: Demo sets in the making; each instruction waits for those
                it is shown, as far as they are.
            count: Instructions per predictor.

        """
        own = [predictor.signature.instructions for predictor in self._student.predictors()]
        rng = random.Random(self._options.seed)
        written = await gather(
            [
                gather(
                    [
                        self._instruction(index, turn, tip, briefing, drafts)
                        for turn, tip in zip(range(1, count), _shuffled_tips(rng), strict=False)
                    ]
                )
                for index in range(len(own))
            ]
        )
        return tuple(_distinct((first, *texts)) for first, texts in zip(own, written, strict=True))

    async def _instruction(
        self,
        index: int,
        rollout: int,
        tip: str,
        briefing: asyncio.Future[Briefing],
        drafts: Sequence[asyncio.Future[Draft]],
    ) -> str:
        path, predictor = self._student.named_predictors()[index]
        shown = []
        if self._options.fewshot_aware_proposer:
            shown = await _shown_demos(path, drafts, rollout)
        told = await briefing
        request = {
            "dataset_description": told.data,
            "program_code": self._code,
            "program_description": told.program,
            "module": self._modules()[index] if self._code else "",
            "module_description": told.modules[index],
            "task_demos": "\n\n".join(map(_demo_text, shown)),
            "present_instruction": predictor.signature.instructions,
            "tip": tip if self._options.tip_aware_proposer else "",
        }
        return await self._write({name: text for name, text in request.items() if text}, rollout)

    async def _write(self, request: dict[str, str], rollout: int) -> str:
        signature: type[dspy.Signature] = WriteInstruction
        for name in set(signature.input_fields) - set(request):
            signature = signature.delete(name)
        # Without a temperature there are no rollouts; the requests differ all the same.
        varied = {"rollout_id": rollout} if self._model.temperature else {}
        lm = self._model.lm.copy(temperature=self._model.temperature, **varied)
        return _cleaned(await self._ask(signature, request, lm))

    def _observations(self) -> list[Coroutine[Any, Any, str]]:
        if not self._options.data_aware_proposer:
            return []
        size = self._options.view_data_batch_size
        starts = range(0, len(self._trainset), size)[:BATCHES]
        batches = (self._trainset[start : start + size] for start in starts)
        return [self._ask(ObserveData, {"examples": _rows_text(batch)}) for batch in batches]

    def _descriptions(self) -> list[Coroutine[Any, Any, str]]:
        """Ask for what the program does, and each of its modules in it."""
        if not self._code:
            return []
        shown = {"program_code": self._code}
        example = {"program_example": _rows_text(self._trainset[:1])}
        modules = [self._ask(DescribeModule, {**shown, "module": each}) for each in self._modules()]
        return [self._ask(DescribeProgram, {**shown, **example}), *modules]

    async def _ask(
        self,
        signature: type[dspy.Signature],
        request: dict[str, str],
        lm: dspy.BaseLM | None = None,
    ) -> str:
        asked = self._model.lm if lm is None else lm
        described = [
            *(signature.instructions, sorted(signature.input_fields), request),
            *(fingerprint.model(asked), fingerprint.adapter(self._model.adapter)),
        ]
        key = digest(plain(described))
        proposal = await self._once.get(
            key, ask, asked, self._model.adapter, signature, request, key
        )
        return proposal.text

    def _modules(self) -> list[str]:
        return [
            f"{path}: {type(predictor).__name__}({', '.join(predictor.signature.input_fields)}) -> "
            f"{', '.join(predictor.signature.output_fields)}"
            for path, predictor in self._student.named_predictors()
        ]


def ask(
    lm: dspy.BaseLM,
    adapter: dspy.Adapter | None,
    signature: type[dspy.Signature],
    request: dict[str, str],
    key: str,
) -> Proposal:
    """
    Ask the prompt model once; an answer it garbles counts as an empty one.

    Raises:
        InfrastructureError: The model could not be asked.
        BudgetExceeded: What may be spent is spent.

    """
    meter = UsageMeter("propose")
    settings = {"lm": lm, "usage_tracker": meter}
    if adapter is not None:
        settings["adapter"] = adapter
    (output,) = signature.output_fields
    with dspy.context(**settings):
        try:
            answer = partial(dspy.Predict(signature), **request)
            text = retry_lm_errors(answer, "proposing instructions")[output]
        except AdapterParseError as error:
            logger.warning("the prompt model's answer for %s could not be read: %s", output, error)
            text = None
        except ContextWindowExceededError as error:
            logger.warning("the prompt model cannot take the request for %s: %s", output, error)
            text = None
    return Proposal(key, text if isinstance(text, str) else "", meter.usage)


def program_code(program: dspy.Module) -> str:
    """Return the program as the prompt model is shown it: its source and its signatures."""
    cls = type(program)
    try:
        source = "" if cls.__module__.startswith("dspy.") else inspect.getsource(cls)
    except (OSError, TypeError):
        source = ""  # Typed at a prompt; the signatures still say what it does.
    signatures = [
        f"{path} = {type(predictor).__name__}({predictor.signature.signature!r})"
        for path, predictor in program.named_predictors()
    ]
    return "\n".join(filter(None, [source.strip(), *signatures]))


def _shuffled_tips(rng: random.Random) -> Iterator[str]:
    """Yield tips in random order, each as often as any: proposals may differ in nothing else."""
    return cycle(rng.sample(_TIPS, len(_TIPS)))


async def _shown_demos(
    path: str, drafts: Sequence[asyncio.Future[Draft]], rollout: int
) -> list[dspy.Example]:
    """Pick bootstrapped demos from the set of the proposal's number, then from its neighbours."""
    turn = rollout % len(drafts)
    shown: list[dspy.Example] = []
    for draft in (*drafts[turn:], *drafts[:turn]):
        shown += [demo for demo in (await draft).demos[path] if demo.get("augmented")]
        if len(shown) >= _DEMOS_SHOWN:
            break
    return shown[:_DEMOS_SHOWN]


def _demo_text(demo: dspy.Example) -> str:
    fields = fingerprint.demo_fields(demo)
    return "\n".join(f"{name}: {value}" for name, value in fields.items() if name != "augmented")


def _rows_text(rows: Sequence[dspy.Example]) -> str:
    fields = (plain(row.toDict(), fallback=repr) for row in rows)
    return "\n".join(json.dumps(each, ensure_ascii=False) for each in fields)


def _cleaned(text: str) -> str:
    stripped = _LABEL.sub("", text.strip()).strip()
    quoted = len(stripped) > 1 and stripped[0] == stripped[-1] == '"'
    return stripped[1:-1].strip() if quoted else stripped


def _distinct(texts: Sequence[str]) -> tuple[str, ...]:
    own, *proposed = texts
    return (own, *(text for text in dict.fromkeys(proposed) if text and text != own))

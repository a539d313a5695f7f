"""What the package assumes of DSPy beyond its public names, one test for each assumption.

Where a test fails on a new release, the module of ``pytest_mipro.dspy_internals`` that it names
has to change. What is assumed of the price list is in ``test_price_list.py``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import UserList
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from dspy import lm15
from dspy.dsp.utils.settings import DEFAULT_CONFIG
from dspy.utils.callback import BaseCallback

from pytest_mipro import dspy_internals
from pytest_mipro.fingerprint import signature_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.uses("dspy")

PACKAGE = Path(__file__).parents[2] / "pytest_mipro"
ROOM = PACKAGE / "dspy_internals"
PUBLIC = {"dspy", "dspy.teleprompt", "dspy.utils.callback"}
"""The modules of DSPy that its documentation has users import from."""
PRIVATE_SETTINGS = {"caller_modules", "usage_tracker"}


class Engine:
    """Answers each call with the answer 4."""

    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer in the format of ChatAdapter."""
        return lm15.Response(
            id="r",
            model=request.model,
            message=lm15.Message.assistant("[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]"),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        )


def ask(question: str = "2 + 2", **settings: Any) -> dspy.LM:
    """Ask a model, which is returned, under some settings."""
    lm = dspy.LM("mine", engine=Engine(), cache=settings.pop("cache", False))
    with dspy.context(lm=lm, **settings):
        assert dspy.Predict("question -> answer")(question=question).answer == "4"
    return lm


@cache
def outside() -> dict[str, list[ast.AST]]:
    """Return the syntax of the modules of the package outside of the room, by their paths."""
    return {
        path.relative_to(PACKAGE).as_posix(): [
            *ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        ]
        for path in PACKAGE.rglob("*.py")
        if ROOM not in path.parents
    }


def dspy_modules(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the modules of DSPy that a module imports."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dspy":
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] == "dspy")


class TestTheRoomHoldsAllOfThem:
    def test_other_modules_import_what_is_public(self) -> None:
        """They import DSPy, its teleprompters' base class and that of its callbacks."""
        imported = {path: set(dspy_modules(nodes)) - PUBLIC for path, nodes in outside().items()}
        assert {path: modules for path, modules in imported.items() if modules} == {}

    def test_other_modules_name_no_private_attribute_of_a_model_or_module(self) -> None:
        """The names of such attributes are in the room only."""
        private = {name for name in dspy_internals.MODEL_STATE if name.startswith("_")}
        private |= {"_compiled", "_dspy_format", *PRIVATE_SETTINGS}
        named = {
            (path, text)
            for path, nodes in outside().items()
            for node in nodes
            for text in [getattr(node, "attr", None), getattr(node, "value", None)]
            if isinstance(text, str) and text in private and not is_own(node)
        }
        assert named == set()

    def test_what_is_imported_from_dspy_is_public(self) -> None:
        """A name without an underscore, which the package itself has."""
        names = {
            alias.name
            for nodes in outside().values()
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module == "dspy"
            for alias in node.names
        }
        assert [name for name in sorted(names) if not hasattr(dspy, name)] == []


def is_own(node: ast.AST) -> bool:
    """Whether an attribute is of the object's own class in our code."""
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"


class TestCalls:
    """``dspy_internals.calls``."""

    def test_a_tracker_gets_the_usage_of_each_response(self) -> None:
        """By the name of the model and an entry with the tokens of prompt and completion."""

        class Tracker:
            def __init__(self) -> None:
                self.entries: list[tuple[str, dict[str, Any]]] = []

            def add_usage(self, model: str, entry: dict[str, Any], /) -> None:
                self.entries.append((model, entry))

        ask(**dspy_internals.metered_calls(tracker := Tracker()))
        [(model, entry)] = tracker.entries
        assert model == "mine"
        assert (entry["prompt_tokens"], entry["completion_tokens"]) == (10, 2)

    def test_a_log_gets_each_call(self) -> None:
        """As a mapping with the outputs, the response and the model, though it is no module."""

        class Log(UserList[dict[str, Any]]):
            @property
            def history(self) -> Log:
                return self

        ask(**dspy_internals.logged_calls(log := Log()))
        assert [call["model"] for call in log] == ["mine"]
        assert len(log[0]["outputs"]) == 1
        assert log[0]["response"].finish_reason == "stop"

    def test_a_module_that_is_called_is_among_the_calling_ones(self) -> None:
        """The outermost comes first; a module that nothing calls has none above it."""
        callers: list[list[object]] = []

        class Watch(BaseCallback):
            def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
                callers.append(dspy_internals.calling_modules())

        program = dspy.ChainOfThought("question -> answer")
        reply = dspy.utils.DummyLM([{"reasoning": "r", "answer": "4"}])
        with dspy.context(lm=reply, callbacks=[Watch()]):
            program(question="2 + 2")
        assert callers[0] == []
        assert callers[1][0] is program


class TestModelCallbacks:
    """``dspy_internals.model_callbacks``: where this fails, rows take longer, and stay right."""

    def test_dspy_prepares_the_arguments_of_the_models_call_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And those of four calls for a callback that may see all of them."""
        prepared: list[str] = []

        def getcallargs(function: Any, /, *arguments: Any, **options: Any) -> dict[str, Any]:
            prepared.append(type(arguments[0]).__name__)
            return inspect.getcallargs(function, *arguments, **options)  # type: ignore[deprecated]  # DSPy calls it

        fake = SimpleNamespace(getcallargs=getcallargs)
        monkeypatch.setattr("dspy.utils.callback.inspect", fake)
        ask(callbacks=[BaseCallback()])
        assert prepared == ["Predict", "ChatAdapter", "LM", "ChatAdapter"]
        prepared.clear()
        ask(callbacks=dspy_internals.with_model_callbacks(BaseCallback()))
        assert prepared == ["LM"]


class TestModels:
    """``dspy_internals.models``."""

    def test_a_model_keeps_its_engines(self) -> None:
        """An object that it was made with, or else the name of a way to select one."""
        engine = Engine()
        assert dspy_internals.engines_of(dspy.LM("mine", engine=engine)) == (engine, None)
        assert dspy_internals.custom_engine(dspy.LM("mine", engine=engine)) is engine
        assert dspy_internals.is_served(dspy.LM("openai/gpt-4o-mini"))
        assert dspy_internals.custom_engine(dspy.LM("openai/gpt-4o-mini")) is None

    def test_the_attributes_of_a_model_are_all_listed(self) -> None:
        """A new one may decide an answer: it has to be described, or listed."""
        lm = dspy.LM("openai/gpt-4o-mini")
        described = {"_providers", "use_developer_role"}
        assert vars(lm).keys() - dspy_internals.MODEL_STATE - described == set()

    def test_parameters_of_the_client_are_named(self) -> None:
        """They hold keys and addresses, of which a description has the address alone."""
        assert {"api_key", "api_base", "base_url", "timeout"} <= dspy_internals.CLIENT_PARAMETERS
        assert {"temperature", "max_tokens"}.isdisjoint(dspy_internals.CLIENT_PARAMETERS)


class TestModules:
    """``dspy_internals.modules``."""

    def test_a_frozen_part_hides_its_predictors(self) -> None:
        """And shows them where it is no longer frozen."""

        class Whole(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.part = dspy.ChainOfThought("question -> answer")

        whole = Whole()
        vars(whole.part)["_compiled"] = True
        assert dspy_internals.is_frozen(whole.part)
        assert whole.predictors() == []
        dspy_internals.unfreeze(whole.part)
        assert len(whole.predictors()) == 1

    def test_a_module_has_no_further_attributes(self) -> None:
        """An empty one has those that are listed."""
        assert vars(dspy.Module()).keys() <= dspy_internals.MODULE_STATE

    def test_copies_of_a_predictor_have_its_origin(self) -> None:
        """Whatever a copy is for; another predictor with an equal signature has another origin."""
        predictor = dspy.Predict("question -> answer")
        origins = {
            dspy_internals.origin_of(copied)
            for copied in (predictor, predictor.deepcopy(), predictor.reset_copy())
        }

        assert len(origins) == 1
        assert dspy_internals.origin_of(dspy.Predict("question -> answer")) not in origins

    def test_retrievers_differ_in_what_decides_nothing(self) -> None:
        """DSPy gives each a random name; the number of passages is the user's."""
        first, second = (vars(dspy.Retrieve(k=2)) for _ in range(2))

        differing = {name for name in first if first[name] != second[name]}
        assert differing == {"stage"}
        assert first.keys() - dspy_internals.RETRIEVER_STATE == {"k"}


class TestResponses:
    """``dspy_internals.responses``."""

    def test_a_cache_is_asked_for_each_call(self) -> None:
        """By ``get``, and, where that has nothing, ``put`` gets what a later ``get`` returns."""

        class Cache(dspy_internals.Cache):
            def __init__(self) -> None:
                super().__init__(
                    enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None
                )
                self.kept: dict[str, Any] = {}
                self.hits = 0

            def get(self, request: Any, ignored_args_for_cache_key: Any = None) -> Any:
                key = self.cache_key(request, ignored_args_for_cache_key)
                self.hits += key in self.kept
                return self.kept.get(key)

            def put(
                self,
                request: Any,
                value: Any,
                ignored_args_for_cache_key: Any = None,
                enable_memory_cache: bool = True,
            ) -> None:
                self.kept[self.cache_key(request, ignored_args_for_cache_key)] = value

        cache = Cache()
        with dspy_internals.replaced_cache(cache):
            ask(cache=True)
            [response] = cache.kept.values()
            assert dspy_internals.load_response(dspy_internals.dump_response(response)) == response
            ask(cache=True)
        assert (len(cache.kept), cache.hits) == (1, 1)

    def test_the_cache_is_an_attribute_that_is_made_when_it_is_read(self) -> None:
        """So it can be replaced, and is the default again once the attribute is gone."""
        original = vars(dspy).get("cache")
        with dspy_internals.replaced_cache(None):
            assert "cache" in vars(dspy)
        assert vars(dspy).get("cache") is original

    def test_a_response_has_the_name_of_its_format(self) -> None:
        """What DSPy caches of its own engines is JSON data under that name."""
        source = inspect.getsource(importlib.import_module("dspy.clients.call_result"))
        assert '"_dspy_format": CACHE_FORMAT' in source


class TestSettings:
    """``dspy_internals.settings``."""

    def test_the_defaults_are_those_of_a_new_process(self) -> None:
        """Each setting has one."""
        assert dspy_internals.default_settings() is DEFAULT_CONFIG
        assert {"adapter", "callbacks", "lm", "trace"} <= DEFAULT_CONFIG.keys()

    def test_without_an_adapter_the_named_one_renders(self) -> None:
        """A release with another default renders every prompt in another way."""
        adapters: list[type] = []

        class Watch(BaseCallback):
            def on_adapter_format_start(
                self, call_id: str, instance: Any, inputs: dict[str, Any]
            ) -> None:
                adapters.append(type(instance))

        ask(adapter=None, callbacks=[Watch()])
        with dspy.context(adapter=None):
            assert adapters == [type(dspy_internals.rendering_adapter(None))]


class TestFieldValues:
    """``dspy_internals.field_values``: what LineAdapter shares with DSPy's adapters."""

    def test_a_value_is_written_and_read_back(self) -> None:
        """Texts stay, numbers and lists are JSON."""
        field = signature_of(dspy.Predict("a: list[int] -> b: bool")).fields["a"]
        text = dspy_internals.format_field_value(field, [1, 2])
        assert dspy_internals.parse_value(text, field.annotation) == [1, 2]
        assert dspy_internals.get_annotation_name(list[int]) == "list[int]"

    def test_a_field_with_a_default_may_be_missing(self) -> None:
        """The default is the value then."""

        class Rated(dspy.Signature):
            text: str = dspy.InputField()
            stars: int = dspy.OutputField(default=3)

        assert dspy_internals.apply_output_field_defaults(Rated, {}) == {"stars": 3}


class TestAdapters:
    """``models.local.line_adapter`` is a subclass of DSPy's adapters."""

    def test_an_adapter_is_called_with_these_arguments(self) -> None:
        """And renders with these methods, which LineAdapter replaces."""
        arguments = ["self", "lm", "lm_kwargs", "signature", "demos", "inputs"]
        assert [*inspect.signature(dspy.Adapter.__call__).parameters] == arguments
        assert [*inspect.signature(dspy.Adapter.acall).parameters] == arguments
        assert [*inspect.signature(dspy.Adapter.parse).parameters][:3] == [
            *("self", "signature", "completion")
        ]
        for name in (
            *("format_system_message", "format_user_message_content", "format_demos"),
            *("format_assistant_message_content", "format_field_description"),
        ):
            assert callable(getattr(dspy.Adapter, name, None)), name

    def test_a_rendered_prompt_is_a_list_of_messages(self) -> None:
        """Dictionaries with a role and a content, which demos of LineAdapter are, too."""
        signature = signature_of(dspy.Predict("question -> answer"))
        messages = dspy.ChatAdapter().format(signature, [], {"question": "2 + 2"})
        assert [message["role"] for message in messages] == ["system", "user"]
        assert all(isinstance(message["content"], str) for message in messages)

    def test_native_types_can_be_turned_off(self) -> None:
        """By an attribute, whose default is not empty."""
        assert dspy.ChatAdapter().native_response_types


class TestNamesInTexts:
    def test_examples_and_predictions_are_where_the_search_for_secrets_skips_them(self) -> None:
        """``redaction/search.py`` knows both by the names of their modules."""
        assert dspy.Example.__module__ == "dspy.primitives.example"
        assert dspy.Prediction.__module__ == "dspy.primitives.prediction"

    def test_the_error_without_a_model_begins_as_it_is_recognized(self) -> None:
        """``evaluate/failures.py`` has the text."""
        with dspy.context(lm=None), pytest.raises(ValueError, match=r"^No LM is loaded"):
            dspy.Predict("question -> answer")(question="2 + 2")

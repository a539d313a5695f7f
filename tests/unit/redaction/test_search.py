from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import dspy
import pytest
from growth import growing
from pydantic import BaseModel, SecretStr

from pytest_mipro.redaction.search import SecretSearch, secrets_in_frames, secrets_of_model

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "canary-17"
MODULE_JUDGE = dspy.LM("openai/judge", api_key="judge-18")


@dataclass
class Client:
    """A client of a service, as users write them."""

    token: str = KEY
    key: str = "question"


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("api_key",)
    api_key: str


class Configured:
    """An object whose key is an attribute of its class."""

    api_key = KEY


class Vault(BaseModel):
    """An object of pydantic."""

    api_key: SecretStr = SecretStr(KEY)


class Program(dspy.Module):
    """A program that holds ``held``."""

    def __init__(self, held: object = None) -> None:
        super().__init__()
        self.held = held
        self.ask = dspy.Predict("question -> answer")


class Owner:
    """An object with a metric."""

    def __init__(self) -> None:
        self.client = Client()

    def metric(self, *_: object) -> bool:
        """Return True."""
        return True


def judged(example: object, prediction: object, trace: object = None) -> object:
    """Ask a judge of the module."""
    return MODULE_JUDGE(f"{example} {prediction} {trace}")


def slotted() -> Slotted:
    """Return an object whose key is in a slot."""
    holder = Slotted()
    holder.api_key = KEY
    return holder


def with_closure() -> Callable[..., object]:
    """Return a metric whose judge is in its closure."""
    judge = dspy.LM("openai/judge", api_key=KEY)
    return lambda *texts: judge(str(texts))


def with_default(judge: object = SimpleNamespace(password=KEY)) -> object:
    """Return a default."""
    return judge


def with_lm() -> Program:
    """Return a program whose predictor has a model of its own."""
    program = Program()
    program.ask.lm = dspy.LM("openai/own", api_key=KEY)
    return program


def search(*roots: object) -> set[str]:
    """Return the secrets in reach."""
    running = SecretSearch()
    running.visit(roots)
    return running.secrets


ROOTS: dict[str, Any] = {
    "attribute": Program(Client()),
    "class attribute": Program(Configured()),
    "slot": Program(slotted()),
    "pydantic": Program(Vault()),
    "nested": Program({"services": [(Client(),)]}),
    "url": Program(f"postgresql://svc:{KEY}@db/x"),
    "bytes": Program({"api_key": KEY.encode()}),
    "list": Program({"api_keys": [KEY]}),
    "predictor": with_lm(),
    "closure": with_closure(),
    "default": with_default,
    "partial": functools.partial(with_default, judge=Client()),
    "method": Owner().metric,
}


@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)
def test_secrets_in_reach_are_found(root: object) -> None:
    """Of programs, metrics, and whatever they hold."""
    assert KEY in search(root)
    assert "question" not in search(root)


def test_a_judge_of_the_module_is_found() -> None:
    """It is neither in the closure nor in an argument."""
    assert search(judged) == {"judge-18"}
    assert search(SimpleNamespace(metric=judged)) == {"judge-18"}


def test_numbers_can_be_keys() -> None:
    """A key that is no text is shown as one."""
    assert search(Program({"password": 12345})) == {"12345"}
    assert search(Program({"password": True, "key": 1024})) == set()


def test_data_is_no_secret() -> None:
    """The fields of examples and predictions have the names of a dataset."""
    program = Program()
    program.ask.demos = [dspy.Example(token="tok-12345", password="it is x1"), dspy.Prediction()]
    assert search(program) == set()


def test_a_search_ends() -> None:
    """Circles, and collections without an end in sight, are left."""
    circle: list[object] = [list(range(10**6)), Client()]
    circle.append(circle)
    running = SecretSearch(most=50)
    running.visit([circle])
    assert running.secrets == {KEY}


class Broken:
    """An object that cannot be looked at."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        """Raise."""
        raise OSError


def test_an_object_that_cannot_be_looked_at() -> None:
    """It is left out."""
    assert search([Broken(), Client()]) == {KEY}


@pytest.mark.parametrize(
    "parameters, expected",
    [
        ({"api_key": KEY}, {KEY}),
        ({"headers": {"Authorization": f"Bearer {KEY}"}}, {KEY, f"Bearer {KEY}"}),
        ({"extra_body": {"auth": {"api_key": KEY}}}, {KEY}),
        ({"headers": {"X-Route": "canary-17-long", "Content-Type": "application/json"}}, None),
        ({"api_base": f"https://me:{KEY}@host/v1"}, {KEY, "bWU6Y2FuYXJ5LTE3"}),
        ({"api_key": "none", "stop": ["a long stop word"], "api_base": "https://host"}, set()),
    ],
)
def test_secrets_of_a_model(parameters: dict[str, Any], expected: set[str] | None) -> None:
    """They are found at any depth of its parameters."""
    model = dspy.LM("openai/gpt-test", **parameters)
    assert secrets_of_model(model, ()) == ({"canary-17-long"} if expected is None else expected)


class OwnModel(dspy.BaseLM):
    """A model of a user's own class."""

    def __init__(self) -> None:
        super().__init__(model="own")
        self.api_key = KEY


def test_secrets_of_a_model_of_another_class() -> None:
    """Its attributes are parameters, too."""
    assert KEY in secrets_of_model(OwnModel(), ())


def test_secrets_in_frames() -> None:
    """Those of the code that raised, and of the objects that it held, in all of the chain."""

    def connect() -> None:
        password, key, client = "x1y2", "doc_17", Client()
        raise OSError(password, key, client)

    def run() -> None:
        api_key = "k3-y4"
        try:
            connect()
        except OSError as error:
            raise ValueError(api_key) from error

    with pytest.raises(ValueError, match="k3-y4") as caught:
        run()
    assert secrets_in_frames(caught.value, ()) == {"x1y2", "k3-y4", KEY}


class Comparable(type):
    """A metaclass whose classes have no hash."""

    __hash__: ClassVar[None]  # type: ignore[assignment]  # as of a class that is compared

    def __eq__(cls, other: object) -> bool:
        return cls is other


class SlottedWithoutHash(metaclass=Comparable):
    """An object without a dictionary, whose class has no hash."""

    __slots__ = ("api_key",)

    def __init__(self) -> None:
        self.api_key = KEY

    def fail(self) -> None:
        """Raise an error of a method."""
        raise ValueError("no answer")


def test_secrets_in_a_frame_of_a_class_without_a_hash() -> None:
    """The search remembers the slots of a class, if it can."""
    with pytest.raises(ValueError, match="no answer") as error:
        SlottedWithoutHash().fail()
    assert secrets_in_frames(error.value, ()) == {KEY}


def test_what_other_threads_change_is_searched() -> None:
    """A dictionary, or the variables of a module, may grow while they are looked through."""
    headers: dict[str, Any] = {f"header_{number}": number for number in range(50)}
    search = SecretSearch()
    with growing(headers):
        search.visit([{**headers, "api_key": KEY}, headers, {"token": headers}])
    assert search.secrets == {KEY}

    variables: dict[str, Any] = {"client": Client()} | headers
    with pytest.raises(ValueError, match="no answer") as error:
        exec("raise ValueError('no answer')", variables)
    with growing(variables):
        assert secrets_in_frames(error.value, ()) == {KEY}

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import dspy
import pytest

from pytest_mipro.records import ExampleResult, Failure

if TYPE_CHECKING:
    from pytest_mipro.canonical import JSON
    from pytest_mipro.redaction.secrets import Secrets

pytestmark = pytest.mark.usefixtures("clean_environment")

LONG, SHORT = "sk-do-not-show-5f1d", "hunter2"


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "HF_TOKEN", "CLIENT_SECRET", "PGPASSWORD", "MY_PAT", "my_api_key"]
)
@pytest.mark.parametrize("value", [LONG, "x-17-y"])
def test_the_environment(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A variable with the name of a credential is one, though no model uses it."""
    assert secrets.redact(value) == value
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME_PAGE", "https://one.example")
    assert secrets.redact(f"({value}) https://one.example") == "(***) https://one.example"


def test_a_url_of_the_environment(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its password is a secret where it stands alone, too."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://svc:pw-1234@db/x")
    assert secrets.redact("pw-1234 of svc on db") == "*** of svc on db"


def test_what_was_a_secret_stays_one(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text may be made before the variable is removed, and shown later."""
    monkeypatch.setenv("MY_PAT", LONG)
    secrets.redact("")
    monkeypatch.delenv("MY_PAT")
    assert secrets.redact(LONG) == "***"


def test_names_of_users(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """``mipro_redact`` names variables, parameters and attributes."""
    monkeypatch.setenv("DEPLOY_PIN", "731")
    assert secrets.redact("pin 731") == "pin 731"
    secrets.add_names(["*-Pin", "greeting"])
    secrets.add_from(SimpleNamespace(greeting="open sesame"))
    assert secrets.redact("pin 731, not 17310, open sesame") == "pin ***, not 17310, ***"


def test_objects_models_and_urls(secrets: Secrets) -> None:
    """Each way of adding secrets adds them."""
    secrets.add_from([SimpleNamespace(token="token-1")])
    secrets.add_from_model(dspy.LM("openai/x", api_key="key-2"))
    secrets.add_url("me:word-3@host")
    assert secrets.redact(["token-1", "key-2", "word-3"]) == ["***", "***", "***"]


def test_a_key_that_changes_is_known(secrets: Secrets) -> None:
    """A model is looked at again when its parameters are others."""
    model = dspy.LM("openai/x", api_key="key-2")
    secrets.add_from_model(model)
    model.kwargs["api_key"] = "key-3"
    secrets.add_from_model(model)
    assert secrets.redact("key-2 key-3") == "*** ***"


def test_a_model_without_a_hash(secrets: Secrets) -> None:
    """Its key is known, too."""
    secrets.add_from_model(SimpleNamespace(api_key="key-4"))
    assert secrets.redact("key-4") == "***"


def test_short_secrets_are_replaced_as_words(secrets: Secrets) -> None:
    """A long one is also replaced inside a word."""
    secrets.add_from({"password": SHORT, "api_key": LONG})
    text = f"{SHORT}, x{SHORT}, {SHORT}_, x{LONG}y"
    assert secrets.redact(text) == f"***, x{SHORT}, ***_, x***y"


def test_all_texts_are_redacted(secrets: Secrets) -> None:
    """Texts and names at any depth lose the secret, and other values stay as they are."""
    secrets.add_from({"api_key": LONG})
    value: JSON = {f"a {LONG}": f"401 for {LONG}", "rows": [LONG, 3, None, True], "n": 0.5}
    assert secrets.redact(value) == {
        "a ***": "401 for ***",
        "rows": ["***", 3, None, True],
        "n": 0.5,
    }


def test_the_texts_of_a_record_are_redacted(secrets: Secrets) -> None:
    """The result is a record of the same type, whose other values stay as they are."""
    secrets.add_from({"api_key": LONG})
    failure = Failure("Error", f"401 for {LONG}", "")
    result = ExampleResult(0.5, ({"answer": LONG},), (failure,))
    assert secrets.redact(result) == ExampleResult(
        0.5, ({"answer": "***"},), (Failure("Error", "401 for ***", ""),)
    )


def test_a_secret_may_be_the_name_of_a_field(secrets: Secrets) -> None:
    """The texts of a record are replaced, and it has its fields."""
    secrets.add_from({"password": "message"})
    assert secrets.redact(Failure("Error", "no message", "")) == Failure("Error", "no ***", "")


def test_a_secret_may_be_one_of_few_words_of_a_field(secrets: Secrets) -> None:
    """Such a word is no text of anybody, and reports look it up."""
    secrets.add_from({"password": "connection"})
    failure = Failure("Error", "no connection", "", "connection")
    assert secrets.redact(failure) == Failure("Error", "no ***", "", "connection")


def test_the_longest_secret_is_replaced_first(secrets: Secrets) -> None:
    """A secret that contains another secret is replaced as a whole."""
    secrets.add_from({"api_key": LONG, "password": f"{LONG}-and-more"})
    assert secrets.redact(f"{LONG}-and-more!") == "***!"


def test_forms_of_a_secret(secrets: Secrets) -> None:
    """A secret is replaced as a URL and as JSON have it, too."""
    secrets.add_from({"api_key": "a/b+17==", "password": 'a"b17'})
    assert secrets.redact("a%2Fb%2B17%3D%3D") == "***"
    assert secrets.redact(r'"a\"b17"') == '"***"'


def test_an_error(secrets: Secrets) -> None:
    """Its text loses what the code that raised it held, and what it calls a secret."""

    def connect(password: str) -> None:
        message = f"login {password} failed: api_key='{SHORT}'"
        raise OSError(message)

    with pytest.raises(OSError, match="login") as caught:
        connect("x1y2")
    text = secrets.redact_error(str(caught.value), caught.value)
    assert text == "login *** failed: api_key='***'"
    assert secrets.redact("x1y2") == "x1y2"  # Other texts may have the same word.

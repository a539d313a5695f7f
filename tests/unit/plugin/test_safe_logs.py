from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from pytest_mipro.plugin.safe_logs import install_safe_logs

if TYPE_CHECKING:
    from collections.abc import Generator

HOSTILE = "\n::error::x ##[group]\x1b[2J"
SHOWN = "\n\\x3a:error::x #\\x23[group]\\x1b[2J"


@pytest.fixture
def safe_logs() -> Generator[None]:
    """Make the logs of a test safe."""
    restore = install_safe_logs()
    yield
    restore()


@pytest.mark.usefixtures("safe_logs")
@pytest.mark.parametrize("name", ["dspy.adapters", "pytest_mipro.evaluate", "LiteLLM"])
def test_records_are_safe(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Message, arguments and traceback, for all handlers."""
    logging.getLogger(name).warning("100%% of %s", HOSTILE, exc_info=ValueError(HOSTILE))
    (record,) = caplog.records
    assert record.getMessage() == f"100% of {SHOWN}"
    assert str(record.exc_text).endswith(f"ValueError: {SHOWN}")
    assert "::error" not in caplog.text.replace("x3a:error", "")


@pytest.mark.usefixtures("safe_logs")
def test_records_of_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    """What the user's code logs is theirs; pytest's report of the test is made safe later."""
    logging.getLogger("mine").warning("%s", HOSTILE)
    logging.getLogger("dspyish").warning("%s", HOSTILE)
    assert [record.args for record in caplog.records] == [(HOSTILE,)] * 2


@pytest.mark.usefixtures("safe_logs")
def test_a_record_with_wrong_arguments_stays() -> None:
    """The handler reports it; the code that logs does not fail."""
    arguments = ["one"]
    with pytest.raises(TypeError):  # From pytest's handler, which raises.
        logging.getLogger("dspy").warning("%s %s", *arguments)


def test_the_factory_is_restored() -> None:
    """Unless somebody else has set one since."""
    create = logging.getLogRecordFactory()
    restore = install_safe_logs()
    assert logging.getLogRecordFactory() is not create
    restore()
    assert logging.getLogRecordFactory() is create

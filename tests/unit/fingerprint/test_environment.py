from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from fingerprints import assert_changes, evaluation_key, predictions_key, simple_task

from pytest_mipro.fingerprint import metric_key, task_fingerprint

if TYPE_CHECKING:
    from fingerprints import Load

pytestmark = pytest.mark.uses("dspy", "pydantic")

READING = {
    "an item": "os.environ['MODE']",
    "get": "os.environ.get('MODE')",
    "get with a default": "os.environ.get('MODE', 'fast')",
    "getenv": "os.getenv('MODE')",
    "getenv by keyword": "os.getenv(key='MODE')",
    "an imported mapping": "environ['MODE']",
    "an imported function": "getenv('MODE', 'fast')",
    "a test of membership": "'MODE' in os.environ",
    "a helper": "helper()",
    "an inner function": "(lambda: os.environ['MODE'])()",
    "setdefault": "os.environ.setdefault('MODE', 'fast')",
    "a mapping imported under another name": "variables['MODE']",
    "a function imported under another name": "read('MODE')",
    "a global that is the mapping": "ENV.get('MODE')",
    "a variable that is the mapping": "(env := os.environ) and env['MODE']",
    "an import inside a function": "inside()",
    "an item by a method": "os.environ.__getitem__('MODE')",
    "a method under another name": "(get := os.environ.get) and get('MODE')",
    "a name that is a global": "os.environ[NAME]",
    "a name among several": "[os.getenv(name) for name in NAMES]",
    "a function over names": "[*map(os.getenv, ['MODE'])]",
    "a copy": "os.environ.copy()['MODE']",
    "a dictionary": "dict(os.environ)['MODE']",
    "entries of another dictionary": "{**os.environ}['MODE']",
    "a merged dictionary": "(os.environ | {})['MODE']",
    "a loop": "[value for name, value in os.environ.items() if name == 'MODE']",
    "a path": "os.path.expandvars('$MODE/data')",
    "a path in braces": "expand('~/${MODE}/data')",
    "a template": "Template('a $MODE b').substitute(os.environ)",
    "a template that is a global": "Template(TEXT).safe_substitute(variables)",
    "a format": "'{MODE}'.format(**os.environ)",
    "a format with a mapping": "'{MODE!r:>9}'.format_map(os.environ)",
    "a percent format": "'%(MODE)s' % os.environ",
}
BYTES = {
    "an item": "os.environb[b'MODE']",
    "get": "os.environb.get(b'MODE')",
    "a function": "os.getenvb(b'MODE')",
    "a copy": "dict(os.environb)[b'MODE']",
}
HEAD = (
    "import os\nfrom string import Template\nfrom os import environ, getenv\n"
    "from os.path import expandvars as expand\n"
    "NAME, NAMES, TEXT = 'MODE', ['A', 'MODE'], '${MODE}'\n"
    "from os import environ as variables\n"
    "from os import getenv as read\nENV = os.environ\ndef inside():\n"
    "    from os import environ as mine\n    return mine['MODE']\n"
    "def helper():\n    return os.environ['MODE']\n"
)
METRIC = f"{HEAD}def metric(e, p, trace=None):\n    return "
PROGRAM = (
    f"import dspy\n{HEAD}class Program(dspy.Module):\n    def __init__(self):\n"
    "        super().__init__()\n        self.say = dspy.Predict('question -> answer')\n"
    "    def forward(self, question):\n        mode = "
)


@pytest.mark.parametrize("expression", READING.values(), ids=READING)
def test_variable_that_a_metric_reads_is_part_of_its_keys(
    load: Load, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    """A variable that is read by its name changes the keys when its value does."""
    metric = load({"user_code.py": f"{METRIC}{expression}\n"}).metric
    monkeypatch.setenv("MODE", "fast")
    original, key = task_fingerprint(simple_task(metric)), metric_key(metric)
    monkeypatch.setenv("MODE", "slow")
    current, changed_key = task_fingerprint(simple_task(metric)), metric_key(metric)

    assert_changes(original, current, "environment variable MODE changed")
    assert changed_key != key
    assert not any("slow" in content for content in current.parts.values())
    monkeypatch.delenv("MODE")
    assert metric_key(metric) not in {key, changed_key}


@pytest.mark.skipif(not os.supports_bytes_environ, reason="the environment is no bytes here")
@pytest.mark.parametrize("expression", BYTES.values(), ids=BYTES)
def test_variable_that_is_read_as_bytes_is_part_of_the_key(
    load: Load, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    """Bytes are the same environment."""
    metric = load({"user_code.py": f"{METRIC}{expression}\n"}).metric
    monkeypatch.setenv("MODE", "fast")
    key = metric_key(metric)
    monkeypatch.setenv("MODE", "slow")

    assert metric_key(metric) != key


@pytest.mark.parametrize("expression", READING.values(), ids=READING)
def test_variable_that_a_program_reads_is_part_of_its_keys(
    load: Load, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    """A variable that ``forward`` reads changes the keys of the task, of rows and predictions."""
    code = load({"user_code.py": f"{PROGRAM}{expression}\n        return mode\n"})
    task = simple_task(len, code.Program())
    monkeypatch.setenv("MODE", "fast")
    original, keys = task_fingerprint(task), {evaluation_key(task), predictions_key(task)}
    monkeypatch.setenv("MODE", "slow")

    assert_changes(original, task_fingerprint(task), "environment variable MODE changed")
    assert keys.isdisjoint({evaluation_key(task), predictions_key(task)})


@pytest.mark.parametrize(
    "name, expression",
    [
        ("MODE", "os.environ[e.name]"),
        ("OTHER_MODE", "os.environ['MODE']"),
        ("MODE", "e.get('MODE')"),
        ("MODE", "os.environ.update(MODE='fast')"),
        ("OTHER_MODE", "dict(os.environ)['MODE']"),
        ("SERVICE_API_KEY", "dict(os.environ)['SERVICE_API_KEY']"),
        ("SERVICE_API_KEY", "os.environ['SERVICE_API_KEY']"),
        ("DB_PASSWORD", "os.getenv('DB_PASSWORD')"),
    ],
)
def test_other_variable_changes_no_key(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, expression: str
) -> None:
    """A credential says who asks, and a name that is computed is not known."""
    metric = load({"user_code.py": f"{METRIC}{expression}\n"}).metric
    monkeypatch.setenv(name, "fast")
    key = metric_key(metric)
    monkeypatch.setenv(name, "slow")

    assert metric_key(metric) == key

"""Metrics in all of Python's syntax, whose keys are the same on every Python.

``python tests/support/recorded_keys.py`` records the keys anew, where that is meant.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from reached_code import DEPENDENCIES

from pytest_mipro.fingerprint import metric_key

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDED = Path(__file__).parents[1] / "unit" / "fingerprint" / "recorded_keys.json"
"""The keys by name."""

_HEAD = "def metric(example, prediction, trace=None):\n"
_TERMS = " + ".join(["prediction"] * 2000)
_LINES = {
    "an f-string with nested quotes": (
        "return f\"{example['a']}\" == f'{prediction[\"a\"]!r:>{10}}'"
    ),
    "an f-string with a non-breaking space": "return f'{prediction}\u00a0{example}'",
    "an f-string with a backslash": "return f'{prediction}\\n\\t\\N{BULLET}' rf'\\d{example}'",
    "an f-string of several parts": "return 'a' f'b{example}' 'c' f'{{}}' f'' u'd'",
    "nested f-strings": "return f\"{f'{example:{prediction}}'!s:{1}.{2}}\"",
    "a self-documenting f-string": "return f'{example = } {prediction=!r:^20}'",
    "an f-string with a date": "return f'{example:%Y-%m-%d}{example:}'",
    "an f-string with a lambda": "return f'{(lambda x: x)(1)}'",
    "lambdas": "return [lambda: 1, lambda x, *y, z=1, **w: (yield), lambda x, /, y: x]",
    "loops": "for a, *b in [(1, 2)]:\n        continue\n    else:\n        return a, b",
    "a comprehension": "return [(a, b) for a in 'ab' if a for b in 'cd'], {a: 1 for a in ()}",
    "an asynchronous comprehension": (
        "async def f():\n        return [await a async for a in example]\n    return f"
    ),
    "a while loop": (
        "while True:\n        if (n := len(prediction)) > 1:\n            break\n    return n"
    ),
    "exceptions": (
        "try:\n        assert example, 'none'\n    except (KeyError, ValueError) as error:\n"
        "        raise TypeError from error\n    finally:\n        return 1"
    ),
    "a with statement": "with (open('a') as a, open('b') as b):\n        return a, b",
    "a match statement": (
        "match prediction:\n        case {'a': [1, *rest], **more} | (rest, more) if rest:\n"
        "            return more\n        case str() | None as x:\n            return x"
    ),
    "numbers": f"return 1_000, 0x{'f' * 5000}, 1e400, -1j, .5, 1e-7, True, None",
    "texts": "return 'a' \"b\", b'\\xff', r'\\d', '\\ud800', '''c\n  d''', '\U0001fae0\u0378', ...",
    "slices": "return example[1:2, ::3, ...], example[()], example[(1, 2)], [*example]",
    "operators": "return not -example ** ~prediction // 2 @ 3 if 1 < trace is not trace else 5",
    "assignments": "a: int = 1\n    a += 1\n    b = c = a\n    del b\n    return c",
    "a nested class": (
        "class A(dict, total=True):\n        '''Text.'''\n        x: int\n        def f(self): ..."
        "\n    return A"
    ),
    "decorators": (
        "@staticmethod\n    @(lambda f: f)\n    def f(a: 'int', *, b: int = 1) -> None: ...\n"
        "    return f"
    ),
    "a deep expression": f"return {_TERMS}",
    "generators": "a = yield\n    yield from (b for b in a)",
    "names of letters that Python unifies": "\ufb01 = 1\n    return fi",
}
CODE = {
    **{name: f"{_HEAD}    {line}\n" for name, line in _LINES.items()},
    "lambdas on one line": (
        "CHECKS = [lambda p: 'a', lambda p: LABEL, lambda p: 'b']\nLABEL = 'c'\n"
        f"{_HEAD}    return all(check(prediction) for check in CHECKS)\n"
    ),
    "closures on one line": (
        "def make(a):\n    return lambda p: a, lambda p: (lambda q: (a, q)), lambda p: 1\n"
        f"CHECKS = make(2)\n{_HEAD}    return CHECKS[0](1), CHECKS[1](1)\n"
    ),
    "an enum and its members": (
        "import enum\nclass Label(enum.Enum):\n    GOOD = 'good'\n    BAD = 'bad'\n"
        f"    def better(self):\n        return self\n{_HEAD}    return Label.GOOD.better()\n"
    ),
    "an enum of numbers": (
        "import enum\nclass Level(enum.IntEnum):\n    LOW = 1\nLIMIT = Level.LOW\n"
        f"{_HEAD}    return LIMIT\n"
    ),
    "an annotated class": (
        "import dataclasses, typing\nclass Kind:\n    pass\n@dataclasses.dataclass\nclass Judge:\n"
        "    kind: typing.Optional[Kind] = None\n    words: 'list[str] | None' = None\n"
        f"{_HEAD}    return Judge().kind\n"
    ),
    "an annotation of a global": (
        "import typing\nKIND = typing.Optional[int]\nOTHER = int | None\n"
        f"{_HEAD}    return KIND, OTHER\n"
    ),
    "a path of the standard library": (
        "import pathlib, re\nPATH = pathlib.PurePosixPath('a') / 'b'\n"
        "WORD = re.compile('a', re.I)\n"
        f"{_HEAD}    return PATH, WORD\n"
    ),
}
"""The code by name."""


def recorded_names() -> list[str]:
    """Return the names of all code with a recorded key."""
    return sorted({*CODE, *_portable_dependencies()})


def code_of(name: str) -> dict[str, str]:
    """Return the files of the code of that name; the last one has the metric."""
    if name in CODE:
        return {"user_code.py": CODE[name]}
    dependency = DEPENDENCIES[name]
    return {**(dependency.package or {}), "user_code.py": dependency.code}


def _portable_dependencies() -> list[str]:
    """Return the names of code without packages, whose objects their versions change."""
    packages = ("dspy", "pydantic", "numpy")
    return [
        name
        for name, dependency in DEPENDENCIES.items()
        if not any(package in dependency.code for package in packages)
    ]


def _record() -> None:
    keys = {name: _key_of(code_of(name)) for name in recorded_names()}
    text = json.dumps(keys, indent=1, sort_keys=True)
    RECORDED.write_text(f"{text}\n", encoding="utf-8")


def _key_of(files: Mapping[str, str]) -> str:
    modules = set(sys.modules)
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            path = Path(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        sys.path.insert(0, folder)
        key = metric_key(importlib.import_module("user_code").metric)
        sys.path.remove(folder)
    for module in set(sys.modules) - modules:
        del sys.modules[module]
    return key


if __name__ == "__main__":
    _record()

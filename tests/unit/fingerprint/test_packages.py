from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from fingerprints import evaluation_key, length, simple_task

from pytest_mipro.fingerprint import metric_key, ownership, packages, task_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.uses("dspy", "pydantic")

HELPER = "def helper():\n    return 1\n"
METRIC = "def metric(e, p, trace=None):\n    return helper()\n"
BOT = (
    "import dspy\nfrom ticketbot.texts import helper\nclass Bot(dspy.Module):\n"
    "    def __init__(self):\n        super().__init__()\n"
    "        self.say = dspy.Predict('question -> answer')\n"
    "    def forward(self, question):\n        return helper()\n"
)
FILES = {
    "ticketbot/__init__.py": "",
    "ticketbot/texts.py": HELPER,
    "ticketbot/bot.py": f"{BOT}{METRIC}",
}


class SitePackages:
    """A folder of installed packages, of which new versions can be installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, direct_url: dict[str, Any] | None, files: dict[str, str]) -> None:
        """Install a distribution with these files."""
        metadata = {"RECORD": "".join(f"{name},,\n" for name in files)}
        if direct_url is not None:
            metadata["INSTALLER"] = direct_url.pop("installer", "pip")
            metadata["direct_url.json"] = json.dumps(direct_url)
        for name, text in {
            **files,
            **{f"ticketbot-1.dist-info/{name}": text for name, text in metadata.items()},
        }.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.forget()

    def forget(self) -> None:
        """Forget what was imported and read."""
        packages.local_packages.cache_clear()
        for name in [
            name for name in sys.modules if name.partition(".")[0] in {"ticketbot", "user"}
        ]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def load(self, name: str) -> ModuleType:
        """Import a module."""
        return importlib.import_module(name)


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SitePackages]:
    """Return a folder of installed packages that Python imports from."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(folder))
    monkeypatch.setattr(ownership, "_INSTALLED", (*ownership._INSTALLED, f"{folder}{os.sep}"))
    site = SitePackages(folder)
    yield site
    site.forget()


LOCAL = {
    "a folder": {"url": "file:///home/me/ticketbot", "dir_info": {}},
    "a wheel": {"url": "file:///tmp/ticketbot-1.whl", "archive_info": {"hash": "sha256=1"}},
}
REMOTE: dict[str, dict[str, Any] | None] = {
    "an index": None,
    "a repository": {"url": "https://one.example/a.git", "vcs_info": {"vcs": "git"}},
    "a build of conda": {"url": "file:///croot/ticketbot", "dir_info": {}, "installer": "conda"},
}


def keys_of_helper(site: SitePackages, direct_url: dict[str, Any] | None) -> list[str]:
    """Return the keys of a metric of the user, whose helper is edited and installed again."""
    keys = []
    for text in (HELPER, HELPER, HELPER.replace("1", "2")):
        site.install(direct_url and dict(direct_url), {**FILES, "ticketbot/texts.py": text})
        source = f"from ticketbot.texts import helper\n{METRIC}"
        user = site.folder.parent / "user.py"
        user.write_text(source, encoding="utf-8")
        sys.path.insert(0, str(user.parent))
        keys.append(metric_key(site.load("user").metric))
        sys.path.remove(str(user.parent))
    return keys


@pytest.mark.parametrize("direct_url", LOCAL.values(), ids=LOCAL)
def test_package_that_was_installed_from_this_machine_is_the_users(
    site_packages: SitePackages, direct_url: dict[str, Any]
) -> None:
    """The code of the project's own package counts, though it is installed and not editable."""
    first, same, edited = keys_of_helper(site_packages, direct_url)

    assert first == same != edited


@pytest.mark.parametrize("direct_url", REMOTE.values(), ids=REMOTE)
def test_package_from_elsewhere_does_not_count(
    site_packages: SitePackages, direct_url: dict[str, Any] | None
) -> None:
    """The code of a library does not count, wherever a tool built it."""
    assert len(set(keys_of_helper(site_packages, direct_url))) == 1


@pytest.mark.parametrize("file", ["ticketbot/texts.py", "ticketbot/bot.py"])
def test_package_of_the_declared_counts(site_packages: SitePackages, file: str) -> None:
    """Program and metric are the user's, with the rest of their package, however installed."""
    keys = []
    for old, new in ((" 1", " 1"), (" 1", " 2"), ("helper()\n", "helper(), 1\n")):
        text = FILES[file].replace(old, new)
        site_packages.install(None, {**FILES, file: text})
        bot = site_packages.load("ticketbot.bot")
        task = simple_task(bot.metric, bot.Bot())
        keys.append((task_fingerprint(task).key, evaluation_key(task)))

    changed = 2 if file == "ticketbot/bot.py" else 1
    assert all(first != other_key for first, other_key in zip(keys[0], keys[changed], strict=True))


def test_keys_do_not_depend_on_what_another_test_declares(site_packages: SitePackages) -> None:
    """A package counts for the task that declares something of it, and for no other task."""
    site_packages.install(None, FILES)
    helper = site_packages.load("ticketbot.texts").helper

    def metric(example: Any, prediction: Any, trace: object = None) -> Any:
        return helper()

    key = metric_key(metric)
    task_fingerprint(simple_task(length, site_packages.load("ticketbot.bot").Bot()))

    assert metric_key(metric) == key


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda bot: bot.Bot, True),
        (lambda bot: bot.Bot(), True),
        (lambda bot: bot.metric, True),
        (lambda bot: functools.partial(bot.metric), True),
        (lambda bot: bot.Bot().forward, True),
        (lambda bot: dspy.Predict("question -> answer"), False),
        (lambda bot: None, False),
        (lambda bot: len, False),
    ],
)
def test_package_of_a_value(site_packages: SitePackages, make: Any, expected: bool) -> None:
    """A value has the outermost package of its code; DSPy's version is in the key already."""
    site_packages.install(None, FILES)

    package = packages.package_of(make(site_packages.load("ticketbot.bot")))

    folder = f"{site_packages.folder / 'ticketbot'}{os.sep}"
    assert package == (folder if expected else "")


def test_module_of_a_namespace_is_a_package_of_its_own(site_packages: SitePackages) -> None:
    """A folder without ``__init__`` belongs to several distributions."""
    files = {"ticketbot/texts.py": HELPER, "alone.py": "", "ticketbot/data.csv": ""}
    site_packages.install({"url": "file:///home/me/ticketbot"}, files)

    assert packages.local_packages() == (
        str(site_packages.folder / "alone.py"),
        str(site_packages.folder / "ticketbot" / "texts.py"),
    )

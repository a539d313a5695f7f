from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import dspy
import pytest
from fingerprints import assert_changes, evaluation_key, length, simple_task

from pytest_mipro.fingerprint import metric_key, ownership, packages, releases, task_fingerprint
from pytest_mipro.fingerprint.parts import Kind

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


# What the real packages require stays read, as none of them changes and the list is long.
RELEASE_CACHES = (releases._distribution_with, releases._version, releases._comes_with_this)


class SitePackages:
    """A folder of installed packages, of which new versions can be installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, direct_url: dict[str, Any] | None, files: dict[str, str], version: str = "1"
    ) -> None:
        """Install a distribution with these files."""
        metadata = {
            "RECORD": "".join(f"{name},,\n" for name in files),
            "METADATA": f"Metadata-Version: 2.1\nName: Ticket_Bot\nVersion: {version}\n",
        }
        if direct_url is not None:
            metadata["INSTALLER"] = direct_url.pop("installer", "pip")
            metadata["direct_url.json"] = json.dumps(direct_url)
        for name, text in {
            **files,
            **{f"ticket_bot-1.dist-info/{name}": text for name, text in metadata.items()},
        }.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.forget()

    def forget(self) -> None:
        """Forget what was imported and read."""
        for function in (packages.local_packages, *RELEASE_CACHES):
            function.cache_clear()
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
    packages.forget_projects_under_test()


LOCAL = {
    "a folder": {"url": "file:///home/me/ticketbot", "dir_info": {}},
    "a wheel": {"url": "file:///tmp/ticketbot-1.whl", "archive_info": {"hash": "sha256=1"}},
}
REMOTE: dict[str, dict[str, Any] | None] = {
    "an index": None,
    "a repository": {"url": "https://one.example/a.git", "vcs_info": {"vcs": "git"}},
    "a build of conda": {"url": "file:///croot/ticketbot", "dir_info": {}, "installer": "conda"},
}


@pytest.mark.parametrize("text", ["{", "[]", "null", "\ufeff{}"])
def test_a_damaged_origin_is_none(text: str) -> None:
    """An installed package whose ``direct_url.json`` cannot be read stops no run."""
    assert packages.origin_in(text) == {}


USER = f"from ticketbot.texts import helper\n{METRIC}"


def user_metric(site: SitePackages, source: str = USER) -> Any:
    """Return a metric of the user's that is in no package."""
    user = site.folder.parent / "user.py"
    user.write_text(source, encoding="utf-8")
    sys.path.insert(0, str(user.parent))
    metric = site.load("user").metric
    sys.path.remove(str(user.parent))
    return metric


def keys_of_helper(site: SitePackages, direct_url: dict[str, Any] | None) -> list[str]:
    """Return the keys of a metric of the user, whose helper is edited and installed again."""
    keys = []
    for text in (HELPER, HELPER, HELPER.replace("1", "2")):
        site.install(direct_url and dict(direct_url), {**FILES, "ticketbot/texts.py": text})
        keys.append(metric_key(user_metric(site)))
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


@pytest.mark.parametrize(
    "file, text",
    [
        ("pyproject.toml", '[build-system]\nrequires = []\n[project]\nname = "ticket.bot"\n'),
        ("pyproject.toml", "[tool.poetry]\nversion = '1'\nname = 'ticket-bot'\n"),
        ("setup.cfg", "[metadata]\nversion = 1\nname = Ticket_Bot\n"),
        ("setup.py", "from setuptools import setup\nsetup(version='1', name='ticket-bot')\n"),
        ("setup.py", "import setuptools as s\nN = 'ticket-bot'\ns.setup(version=str(1), name=N)\n"),
        ("pyproject.toml", "[project]  # a\ndynamic = ['version']\nname = 'ticket-bot'  # b\n"),
        ("../pyproject.toml", "[project]\nname = 'ticket-bot'\n"),
    ],
)
def test_project_under_test_is_the_users_however_installed(
    site_packages: SitePackages, tmp_path: Path, file: str, text: str
) -> None:
    """What the folder of the tests builds counts, though an index is where it is from."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / file).write_text(text, encoding="utf-8")
    packages.add_project_under_test(folder / "test_bot.py")

    first, same, edited = keys_of_helper(site_packages, None)

    assert first == same != edited


@pytest.mark.parametrize(
    "file, text",
    [
        ("pyproject.toml", ""),
        ("pyproject.toml", "[project]\ndynamic = ['name']\n[tool.x]\nname = 'ticket-bot'\n"),
        ("pyproject.toml", "\0[project"),
        ("setup.py", "setup(name=name_of('ticket-bot'))\nother(name='ticket-bot')\n"),
        ("setup.py", "setup("),
    ],
)
def test_folder_that_names_no_project_makes_nothing_the_users(
    site_packages: SitePackages, tmp_path: Path, file: str, text: str
) -> None:
    """A name of another table is not that of the project."""
    (tmp_path / file).write_text(text, encoding="utf-8")
    packages.add_project_under_test(tmp_path / "test_bot.py")

    assert len(set(keys_of_helper(site_packages, None))) == 1


def test_project_that_a_setup_script_installed_is_the_users(
    site_packages: SitePackages, tmp_path: Path
) -> None:
    """An old pip without the package wheel keeps another list of files, from their folder on."""
    (tmp_path / "setup.py").write_text("setup(name='ticket-bot')", encoding="utf-8")
    packages.add_project_under_test(tmp_path / "test_bot.py")
    keys = []
    for text in (HELPER, HELPER.replace("1", "2")):
        site_packages.install(None, {**FILES, "ticketbot/texts.py": text})
        metadata = site_packages.folder / "ticket_bot-1.dist-info"
        files = "".join(f"../{name}\n" for name in ("ticketbot/texts.py", "../../bin/bot.py"))
        (metadata / "installed-files.txt").write_text(files, encoding="utf-8")
        (metadata / "RECORD").unlink()
        shutil.rmtree(site_packages.folder / "ticket_bot-1-py3.10.egg-info", ignore_errors=True)
        metadata.rename(site_packages.folder / "ticket_bot-1-py3.10.egg-info")
        site_packages.forget()
        keys.append(metric_key(user_metric(site_packages)))

    assert keys[0] != keys[1]


USES = {
    "a function": USER,
    "a module": "import ticketbot.texts as t\n" + METRIC.replace("helper", "t.helper"),
    "an import inside": METRIC.replace("return", "from ticketbot.texts import helper; return"),
    "a base class": "import ticketbot.texts as t\nclass Own(t.Base): pass\n"
    + METRIC.replace("helper()", "Own"),
    "an object": "from ticketbot.texts import thing\n" + METRIC.replace("helper()", "thing"),
}


@pytest.mark.parametrize("source", USES.values(), ids=USES)
def test_package_that_the_users_code_uses_counts_by_its_version(
    site_packages: SitePackages, source: str
) -> None:
    """A new version of it can give another score; so can another commit of a repository."""
    files = {**FILES, "ticketbot/texts.py": f"{HELPER}class Base: pass\nthing = Base()\n"}
    keys = []
    for version, commit in (("1", "a"), ("1", "a"), ("2", "a"), ("2", "b")):
        vcs_info = {"vcs": "git", "commit_id": commit}
        url = {"url": "https://one.example/a.git", "vcs_info": vcs_info}
        site_packages.install(url, files, version)
        keys.append(metric_key(user_metric(site_packages, source)))

    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_modules_of_the_user_need_no_list_of_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is long, and a session with only the user's own code and DSPy's does without it."""
    names: list[str] = []
    monkeypatch.setattr(releases, "_comes_with_this", names.append)

    assert releases.release_of(__name__) is None
    assert not names


def test_change_of_a_version_is_said_in_words(site_packages: SitePackages) -> None:
    """The reason names the distribution, as an installer does."""
    prints = []
    for version in ("1", "2"):
        site_packages.install(None, FILES, version)
        prints.append(task_fingerprint(simple_task(user_metric(site_packages))))

    assert_changes(prints[0], prints[1], "Ticket_Bot version changed")


@pytest.mark.parametrize(
    "source",
    ["import dspy", "import pydantic", "import numpy", "import json", "import pytest"],
)
def test_what_this_package_requires_has_no_version_of_its_own(
    site_packages: SitePackages, source: str
) -> None:
    """The key has DSPy's version, and what DSPy needs changes with it."""
    name = source.split()[1]
    site_packages.install(None, FILES)
    metric = user_metric(site_packages, f"{source}\n{METRIC.replace('helper()', name)}")

    parts = task_fingerprint(simple_task(metric)).parts

    versions = {part.name for part in parts if part.kind is Kind.VERSION}
    assert versions == {"DSPy", "Optuna", "algorithm", "declared"}


def test_package_that_is_declared_counts_by_its_version_too(site_packages: SitePackages) -> None:
    """Its files of data may be others in a new version, whose code is the same."""
    prints = []
    for version in ("1", "2"):
        site_packages.install(None, FILES, version)
        bot = site_packages.load("ticketbot.bot")
        prints.append(task_fingerprint(simple_task(bot.metric, bot.Bot())))

    assert_changes(prints[0], prints[1], "Ticket_Bot version changed")


def test_local_package_counts_by_its_code_alone(site_packages: SitePackages) -> None:
    """Tools give each build of a checkout another version."""
    keys = []
    for version in ("1.dev1", "1.dev2"):
        site_packages.install(dict(LOCAL["a folder"]), FILES, version)
        keys.append(metric_key(user_metric(site_packages)))

    assert keys[0] == keys[1]


def test_package_without_a_distribution_is_named(site_packages: SitePackages) -> None:
    """Nothing says when it changes, unless the test declares a version."""
    site_packages.install(None, {"other/__init__.py": ""})
    texts = site_packages.folder / "ticketbot" / "texts.py"
    texts.parent.mkdir()
    texts.write_text(HELPER, encoding="utf-8")
    metric = user_metric(site_packages)

    assert task_fingerprint(simple_task(metric)).unversioned == ("ticketbot",)
    assert task_fingerprint(simple_task(metric, version="1")).unversioned == ()
    assert task_fingerprint(simple_task(length)).unversioned == ()


def test_namespace_has_the_version_of_the_distribution_with_the_module(
    site_packages: SitePackages,
) -> None:
    """Several distributions share a package without ``__init__``."""
    shared = site_packages.folder / "another-3.dist-info"
    shared.mkdir(parents=True)
    (shared / "METADATA").write_text("Name: another\nVersion: 3\n", encoding="utf-8")
    (shared / "RECORD").write_text("ticketbot/more.py,,\n", encoding="utf-8")
    site_packages.install(None, {"ticketbot/texts.py": HELPER})
    user_metric(site_packages)

    assert releases.release_of("ticketbot.texts") == ("Ticket_Bot", "1")


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

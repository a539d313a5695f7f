"""Build what a release publishes, try it in a fresh environment, and write the release's notes.

    python .ci/release.py check FOLDER [TAG]   build into FOLDER, and check and try what is there
    python .ci/release.py notes TAG            print the section of the changelog

The tag has to be that of the version, ``v0.1.0``, and its section in the changelog to have a date.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMOKE = Path(__file__).with_name("smoke.py")
_SECTION = r"^## \[{version}\] - (\S+)\n(.*?)(?=^## \[|\Z)"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def version() -> str:
    """Return the version of the package, without importing it."""
    text = (ROOT / "pytest_mipro" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if match is None:
        sys.exit("pytest_mipro/__init__.py has no __version__")
    return match[1]


def notes(tag: str) -> str:
    """Return the section of the changelog for a tag, or end with the reason why there is none."""
    number = version()
    if tag != f"v{number}":
        sys.exit(f"the tag is {tag}, and the version of the package is {number}: tag v{number}")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    pattern = _SECTION.format(version=re.escape(number))
    section = re.search(pattern, changelog, re.MULTILINE | re.DOTALL)
    if section is None:
        sys.exit(f"CHANGELOG.md has no section [{number}]")
    if not _DATE.fullmatch(section[1]):
        sys.exit(f"CHANGELOG.md has {section[1]!r} for [{number}]: write the date of the release")
    return section[2].strip() + "\n"


def run(*command: str | Path, folder: Path = ROOT) -> None:
    """Run a command, and end if it fails."""
    # ruff: ignore[subprocess-without-shell-equals-true]: the commands are those below
    done = subprocess.run([str(word) for word in command], cwd=folder, check=False)
    if done.returncode:
        sys.exit(f"`{' '.join(map(str, command))}` failed with {done.returncode}")


def build(folder: Path) -> list[Path]:
    """Return the sdist and the wheel, which is built from the sdist, in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--installer", "uv", "--outdir", folder, ROOT)
    return sorted(folder.iterdir())


def check(folder: Path) -> None:
    """Build, check the metadata and the contents, and try the wheel and the sdist."""
    files = build(folder)
    (sdist,) = [file for file in files if file.name.endswith(".tar.gz")]
    (wheel,) = [file for file in files if file.suffix == ".whl"]
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    with tempfile.TemporaryDirectory(prefix="pytest-mipro-") as name:
        python = new_environment(Path(name) / "environment")
        install(python, wheel)
        try_task(python, Path(name) / "wheel")
        # Its dependencies are those of the wheel, which are there.
        install(python, sdist, "--reinstall", "--no-deps")
        try_task(python, Path(name) / "sdist")


def new_environment(folder: Path) -> Path:
    """Return the Python of a fresh environment."""
    run("uv", "venv", "--quiet", "--python", sys.executable, folder)
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def install(python: Path, file: Path, *options: str) -> None:
    """Install a file that was built."""
    run("uv", "pip", "install", "--quiet", "--python", python, *options, file)


def try_task(python: Path, folder: Path) -> None:
    """Compile and judge a task in a new folder, away from the checkout."""
    folder.mkdir()
    shutil.copy(SMOKE, folder / "test_smoke.py")
    options = ("-p", "no:cacheprovider", "-W", "ignore::pytest_mipro.MiproWarning")
    run(python, "-m", "pytest", "--mipro", "-q", *options, folder=folder)


def main(command: str, *arguments: str) -> None:
    """Carry out one of the commands of the module's docstring."""
    if command == "notes" and len(arguments) == 1:
        sys.stdout.write(notes(*arguments))
    elif command == "check" and len(arguments) in {1, 2}:
        folder, *tags = arguments
        for tag in tags:
            notes(tag)
        check(Path(folder))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])

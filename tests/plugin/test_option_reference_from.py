"""``--mipro-reference-from`` reads references from a commit instead of the work tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from version_control import git

if TYPE_CHECKING:
    from project import Project


def test_the_reference_of_the_commit_counts(accepted: Project) -> None:
    """A reference that the work tree brings is not read, and one that the commit has is."""
    git(accepted.path, "init", "-q")
    git(accepted.path, "commit", "-q", "--allow-empty", "-m", "without")
    git(accepted.path, "add", "__mipro__")
    git(accepted.path, "commit", "-q", "-m", "with")
    for file in (accepted.path / "__mipro__").rglob("*.json"):
        file.write_text("forged")
    arguments = ("--mipro", "--mipro-frozen", "--mipro-reference-from")
    accepted.run(*arguments, "HEAD").assert_outcomes(passed=1)
    result = accepted.run(*arguments, "HEAD^1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no reference is accepted, HEAD^1:*test_adder.json is missing*"])


def test_contradictions(guarded: Project) -> None:
    """An update writes the work tree, and an option is no commit."""
    result = guarded.run("--mipro", "--mipro-update", "--mipro-reference-from=HEAD")
    result.stderr.fnmatch_lines(["*--mipro-reference-from contradict each other*"])
    result = guarded.run("--mipro", "--mipro-reference-from=--output=x")
    result.stderr.fnmatch_lines(["*--mipro-reference-from*expected a commit*"])

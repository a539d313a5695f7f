"""The example workflows, and our own, are valid and safe, and do what their texts say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hostile import TEXTS
from ruamel.yaml import YAML

from pytest_mipro.report.markdown import COMMENT_LIMIT, MARKER

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples/github_actions").glob("*.yml"))
WORKFLOWS = [*EXAMPLES, *sorted((ROOT / ".github/workflows").glob("*.yml"))]
ACTION = ROOT / ".github/actions/mipro/action.yml"
COMMENT_ACTION = ROOT / ".github/actions/mipro-comment/action.yml"
USED = "$/.github/actions/mipro"
"""The first action, as a workflow of the same repository names it."""
ACTIONS = {USED: ACTION, f"{USED}-comment": COMMENT_ACTION}
PERMISSIONS = {
    "judge": {"contents": "read"},
    "comment": {"pull-requests": "write"},
    "drift": {"contents": "read"},
}
NODE = shutil.which("node")
"""Runs scripts the way actions/github-script does."""
BASH = shutil.which("bash")
RECORDER = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
"""Prints its arguments and its environment, in place of Python."""
HARNESS = """
const [script, text, comments] = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const warnings = [];
const core = { warning: (text) => warnings.push(text) };
const done = [];
const record = (name) => async (sent) => { done.push([name, sent]); };
const issues = { updateComment: record('update'), createComment: record('create') };
const github = { rest: { issues }, paginate: async () => comments };
const context = {
  repo: { owner: 'o', repo: 'r' }, issue: { number: 7 }, serverUrl: 'https://github.com', runId: 9,
};
const files = { readFileSync: () => text, statSync: () => ({ size: text.length }) };
const AsyncFunction = (async () => {}).constructor;
new AsyncFunction('github', 'context', 'core', 'require', script)(
  github, context, core, () => files
)
  .then(() => console.log(JSON.stringify(done)));
"""


def shown(path: Path) -> str:
    """Return the path of a file as a test's name has it."""
    return path.relative_to(ROOT).as_posix()


each_file = pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS.values()], ids=shown)
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    """Return a workflow."""
    loaded: dict[str, Any] = YAML(typ="safe").load(path)
    return loaded


def steps(path: Path) -> list[dict[str, Any]]:
    """Return all steps of a workflow or an action, with those of our action in its place."""
    content = read(path)
    if path in ACTIONS.values():
        own: list[dict[str, Any]] = content["runs"]["steps"]
        return own
    declared = [step for job in content["jobs"].values() for step in job["steps"]]
    return [
        inner
        for step in declared
        for inner in (steps(ACTIONS[step["uses"]]) if step.get("uses") in ACTIONS else [step])
    ]


def using(job_steps: list[dict[str, Any]], action: str) -> dict[str, Any]:
    """Return the one step that uses an action."""
    (step,) = [step for step in job_steps if step.get("uses", "").startswith(f"{action}@")]
    return step


def pytest_command(path: Path) -> list[str]:
    """Return the words of the command that runs pytest."""
    (command,) = [step["run"] for step in steps(path) if "pytest --mipro" in step.get("run", "")]
    words: list[str] = command.split()
    return words


def audit(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Return what a tool says."""
    return subprocess.run(command, capture_output=True, check=False, encoding="utf-8")


@each_file
def test_github_accepts_it(path: Path) -> None:
    """The workflow, or the action, is as GitHub's schema wants it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    kind = "actions" if path in ACTIONS.values() else "workflows"
    result = audit(*command, f"vendor.github-{kind}", path)
    assert result.returncode == 0, result.stdout


@each_file
def test_an_audit_finds_nothing(path: Path) -> None:
    """Zizmor knows how workflows are attacked; it asks nobody else here."""
    zizmor = shutil.which("zizmor", path=sysconfig.get_path("scripts"))
    assert zizmor is not None
    options = ["--offline", "--no-config", "--persona=pedantic", "--strict-collection"]
    result = audit(zizmor, *options, path)
    assert result.returncode == 0, result.stdout


@each_file
def test_actions_are_pinned(path: Path) -> None:
    """By commit, with the version beside it."""
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert uses
    for use in set(uses) - ACTIONS.keys():
        assert re.fullmatch(r"(actions|pypa)/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)


@each_file
def test_no_expression_becomes_code(path: Path) -> None:
    """What a pull request can name reaches scripts through variables only."""
    for step in steps(path):
        assert "${{" not in step.get("run", "") + step.get("with", {}).get("script", "")


@each_workflow
def test_no_job_runs_for_ever(path: Path) -> None:
    """Each has a limit, and an older run gives way to a newer one."""
    workflow = read(path)
    assert "concurrency" in workflow
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


@each_example
def test_permissions_are_least(path: Path) -> None:
    """None for the workflow, and for each job what its steps need."""
    workflow = read(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"] == PERMISSIONS[name]


def test_a_job_that_may_write_runs_no_code_of_a_pull_request() -> None:
    """It has one step, which checks nothing out, runs no command, and knows no secret."""
    for path in EXAMPLES:
        for job in read(path)["jobs"].values():
            if "write" in job["permissions"].values():
                assert "secrets." not in json.dumps(job)
                assert [step["uses"] for step in job["steps"]] == [f"{USED}-comment"]
    for step in steps(COMMENT_ACTION):
        assert "run" not in step
        assert "checkout" not in step["uses"]
    assert "secrets" not in COMMENT_ACTION.read_text(encoding="utf-8")


@each_example
def test_only_the_step_that_asks_knows_the_key(path: Path) -> None:
    """Not the installation, and not the whole job."""
    workflow = read(path)
    assert "secrets." not in json.dumps(workflow.get("env", {}))
    for job in workflow["jobs"].values():
        assert "secrets." not in json.dumps({**job, "steps": []})
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if "secrets." in json.dumps(step):
                assert step.get("uses") == USED or "pytest --mipro" in step["run"]


def test_only_one_step_of_the_action_gets_its_secrets() -> None:
    """That which runs pytest, as an environment variable and in no command."""
    (step,) = [step for step in steps(ACTION) if "inputs.secrets" in json.dumps(step)]
    assert "pytest --mipro" in step["run"]
    assert step["env"]["SECRETS"] == "${{ inputs.secrets }}"


@pytest.mark.skipif(BASH is None or os.name == "nt", reason="the script is for bash")
@pytest.mark.parametrize(
    "inputs, arguments",
    [
        ({}, []),
        ({"FROZEN": "true"}, ["--mipro-frozen"]),
        ({"BASE": "HEAD^1"}, ["--mipro-reference-from=HEAD^1"]),
        ({"ARGUMENTS": "-n 2 tests/prompts"}, ["-n", "2", "tests/prompts"]),
        ({"ARGUMENTS": "$(id) `id` ;id"}, ["$(id)", "`id`", ";id"]),
    ],
)
def test_the_action_runs_pytest(
    tmp_path: Path, inputs: dict[str, str], arguments: list[str]
) -> None:
    """With the inputs as arguments, and the secrets as variables under their own names."""
    assert BASH is not None
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{RECORDER}", encoding="utf-8")
    python.chmod(0o755)
    (step,) = [step for step in steps(ACTION) if "run" in step]
    environment = {
        **dict.fromkeys(("ARGUMENTS", "BASE", "FROZEN"), ""),
        "MAX_CALLS": "77",
        "SECRETS": "OPENAI_API_KEY=a=b\nrm -rf=x\nEMPTY=\n",
        **inputs,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [BASH, "-eo", "pipefail", "-c", step["run"]],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        encoding="utf-8",
        env=environment,
    )
    command, variables = json.loads(done.stdout)
    words = step["run"].replace("\\\n", "").partition("python ")[2].split()
    assert command == [*(word.replace('"$MAX_CALLS"', "77") for word in words[:-1]), *arguments]
    assert (variables["OPENAI_API_KEY"], variables["EMPTY"]) == ("a=b", "")
    assert "SECRETS" not in variables


@each_example
def test_every_flag_exists(path: Path) -> None:
    """The commands are such as ``pytest --help`` knows."""
    from pytest_mipro.plugin.settings import options

    flags = {"--mipro", *(option.flag for _, option in options() if option.has_flag)}
    used = set(re.findall(r"--mipro[\w-]*", " ".join(pytest_command(path))))
    assert "--mipro" in used
    assert used <= flags


def test_nothing_is_compiled_without_a_key_or_at_night() -> None:
    """A pull request from a fork has no secrets; a model that drifted is no news to a search."""
    nightly, prompts = EXAMPLES
    (step,) = [step for step in read(prompts)["jobs"]["judge"]["steps"] if step.get("uses") == USED]
    condition = "github.event_name == 'pull_request' && secrets.OPENAI_API_KEY == ''"
    assert step["with"]["frozen"] == f"${{{{ {condition} }}}}"
    assert {"--mipro-frozen", "--mipro-rescore"} <= set(pytest_command(nightly))


@each_example
def test_every_report_is_kept(path: Path) -> None:
    """Also, and above all, when a prompt got worse."""
    words = pytest_command(path)
    written = {words[at + 1] for at, word in enumerate(words) if word == "--mipro-report"}
    upload = using(steps(path), "actions/upload-artifact")
    assert upload["if"] == "always()"
    assert set(upload["with"]["path"].split()) == written
    assert {"mipro.html", "mipro.json"} <= written


def test_the_cache_is_kept_as_the_documentation_says() -> None:
    """Restored everywhere, saved by the main branch only, under a key per run."""
    text = (ROOT / "docs" / "how-to" / "ci.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    recipe = YAML(typ="safe").load(block)
    for action in ("actions/cache/restore", "actions/cache/save"):
        documented, used = using(recipe, action), using(steps(ACTION), action)
        assert used["with"] == documented["with"]
        assert used.get("if") == documented.get("if")
    assert using(steps(ACTION), "actions/cache/save")["if"].startswith("always() && github.ref")


SOUND = {
    "task": "routing",
    "word": "PASS",
    "report": {"comparison": {"n": 120, "baseline": 0.5, "compiled": 0.775}},
}
ROW = "| `routing` | PASS | 120 | 0.500 | 0.775 |"
COMMENT = f"""{MARKER}
## Prompts

| task | verdict | n | baseline | compiled |
| --- | --- | --- | --- | --- |
{ROW}

[What got worse, the prompts, and the HTML report](https://github.com/o/r/actions/runs/9)
"""


def report(*tasks: object) -> str:
    """Return a report in JSON, as far as the script reads it."""
    return json.dumps({"tasks": tasks})


def script() -> str:
    """Return the script that comments."""
    text: str = using(steps(COMMENT_ACTION), "actions/github-script")["with"]["script"]
    return text


def test_the_comment_is_found_by_our_marker() -> None:
    """The workflow and the report agree about it."""
    assert f"const marker = '{MARKER}';" in script()


@pytest.mark.skipif(NODE is None, reason="the script is JavaScript, and there is no node")
@pytest.mark.parametrize(
    "comments, done",
    [
        ([], "create"),
        ([{"id": 1, "user": {"login": "mallory"}, "body": f"{MARKER}\nmine"}], "create"),
        ([{"id": 1, "user": {"login": "github-actions[bot]"}, "body": "other"}], "create"),
        ([{"id": 1, "user": None}], "create"),
        ([{"id": 1, "user": {"login": "github-actions[bot]"}, "body": f"{MARKER}\nx"}], "update"),
    ],
)
def test_there_is_one_comment(comments: list[object], done: str) -> None:
    """Its own comment is brought up to date; nobody else's is touched."""
    ((name, sent),) = commented(report(SOUND), comments)
    assert name == done
    assert sent["body"] == COMMENT
    assert ("comment_id" in sent) == (done == "update")
    assert sent.get("issue_number", 7) == 7


@pytest.mark.skipif(NODE is None, reason="the script is JavaScript, and there is no node")
def test_a_report_cannot_speak_in_a_comment() -> None:
    """A name is a short span of code in a cell; of the rest, words and figures are taken."""
    tasks = [
        {
            "task": text,
            "word": text,
            "message": text,
            "report": {"comparison": {"n": text, "baseline": text, "compiled": text}},
        }
        for text in TEXTS.values()
    ]
    ((_, sent),) = commented(report(*tasks), [])
    lines = sent["body"].splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(tasks)
    for row in rows:
        assert re.fullmatch(r"\| `[^`|<>@#&\[\]\\!*~$]{0,80}` \| \? \|  \|  \|  \|", row)
    around = COMMENT.replace(f"{ROW}\n", "")
    assert [line for line in lines if line not in rows] == around.splitlines()


@pytest.mark.skipif(NODE is None, reason="the script is JavaScript, and there is no node")
@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"tasks": {"length": 3}}'])
def test_a_report_that_is_none(text: str) -> None:
    """The comment says so, and nothing of it."""
    ((_, sent),) = commented(text, [])
    assert sent["body"].splitlines()[3] == "The report of this run cannot be read."


@pytest.mark.skipif(NODE is None, reason="the script is JavaScript, and there is no node")
def test_a_comment_is_never_too_long() -> None:
    """It has so many tasks, and the number of the others."""
    tasks = [{**SOUND, "task": "\U0001d11e" * 500}] * 3000
    ((_, sent),) = commented(report(*tasks, None, 7), [])
    assert len(sent["body"]) < COMMENT_LIMIT / 2
    assert "\nand 2952 more\n" in sent["body"]


def commented(text: str, comments: list[object]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the script does with a report and the comments that are there."""
    assert NODE is not None
    result = subprocess.run(
        [NODE, "-e", HARNESS],
        input=json.dumps([script(), text, comments]),
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    done: list[tuple[str, dict[str, Any]]] = json.loads(result.stdout)
    return done

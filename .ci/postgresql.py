"""Install Debian's PostgreSQL, for the tests of a store on a server, where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the commands of a server, which are not on the PATH."""
COMMANDS = (
    ("apt-get", "update"),
    ("apt-get", "install", "--yes", "--no-install-recommends", "postgresql"),
)
UNATTENDED = {"DEBIAN_FRONTEND": "noninteractive"}


def install() -> str:
    """Return why there is no server; empty if there is one now."""
    if shutil.which("initdb") or any(DEBIAN.glob("*/bin/initdb")):
        return ""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return "only root on a Debian can install it here"
    for command in COMMANDS:
        # ruff: ignore[subprocess-without-shell-equals-true]: the commands are those above
        done = subprocess.run(command, check=False, env={**os.environ, **UNATTENDED})
        if done.returncode:
            return f"`{' '.join(command)}` failed"
    return ""


if __name__ == "__main__":
    reason = install()
    if reason:
        sys.stderr.write(f"no PostgreSQL: {reason}; the tests that need one are skipped\n")

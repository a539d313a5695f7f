"""Install a package of Debian, where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess

UNATTENDED = {"DEBIAN_FRONTEND": "noninteractive"}


def install(package: str) -> str:
    """Return why ``package`` cannot be installed; empty if it is installed now."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return "only root on a Debian can install it here"
    for command in (
        ("apt-get", "update"),
        ("apt-get", "install", "--yes", "--no-install-recommends", package),
    ):
        # ruff: ignore[subprocess-without-shell-equals-true]: the commands are those above
        done = subprocess.run(command, check=False, env={**os.environ, **UNATTENDED})
        if done.returncode:
            return f"`{' '.join(command)}` failed"
    return ""

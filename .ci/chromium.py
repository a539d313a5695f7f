"""Install Debian's Chromium, for the tests of the HTML report, where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
COMMANDS = (
    ("apt-get", "update"),
    ("apt-get", "install", "--yes", "--no-install-recommends", "chromium"),
)
UNATTENDED = {"DEBIAN_FRONTEND": "noninteractive"}


def install() -> str:
    """Return why there is no browser; empty if there is one now."""
    if any(map(shutil.which, NAMES)):
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
        sys.stderr.write(f"no Chromium: {reason}; the tests that need one are skipped\n")

"""Install Debian's Chromium, for the tests of the HTML report, where that is possible."""

from __future__ import annotations

import shutil
import sys

from debian import install

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

if __name__ == "__main__":
    is_there = any(map(shutil.which, NAMES))
    if not is_there and (reason := install("chromium")):
        sys.stderr.write(f"no Chromium: {reason}; the tests that need one are skipped\n")

"""Install Debian's PostgreSQL, for the tests of a store on a server, where that is possible."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from debian import install

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the commands of a server, which are not on the PATH."""

if __name__ == "__main__":
    is_there = shutil.which("initdb") or any(DEBIAN.glob("*/bin/initdb"))
    if not is_there and (reason := install("postgresql")):
        sys.stderr.write(f"no PostgreSQL: {reason}; the tests that need one are skipped\n")

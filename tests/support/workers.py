"""Start the workers of pytest-xdist as forks of a process that has collected the tests.

To import everything and all test modules takes seconds of processor time, and several times as
long where nothing is compiled or rewritten yet. Workers in interpreters of their own would each
pay for that, and at the same time.
"""

from __future__ import annotations

import io
import signal
import socket
import sys
import threading
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from forks import ForkServer, Server, server_process, use_for_workers

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


@contextmanager
def forked_workers(arguments: Sequence[str]) -> Generator[None]:
    """Let the workers that start in the block be forks.

    Args:
        arguments: The command line of the run.
    """
    with server_process(__file__, arguments=arguments) as control:
        use_for_workers(ForkServer(control))
        yield


def _collect(arguments: Sequence[str]) -> None:
    """Import what the run of ``arguments`` imports; what fails will fail in the workers."""
    import pytest

    with redirect_stdout(io.StringIO()):
        pytest.main([*arguments, "--collect-only", "-n", "0"])
    assert threading.active_count() == 1  # A fork has no other threads, but the locks they hold.


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run and its workers.
    number, *own = sys.argv[1:]
    _collect(own)
    Server(socket.socket(fileno=int(number))).serve()

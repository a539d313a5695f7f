"""Start runs of pytest as forks of a process that has imported everything already.

A test that runs pytest in a new interpreter pays seconds of processor time for
imports alone. Here one server process imports pytest, DSPy, Optuna and the
plugin once, and runs a project of its own, which fills the caches of all of
them; each run is a fork of it, with an environment, a working directory, a
process group and standard streams of its own. After its first fork the server
runs no test itself, so no run can see what another one has changed. The workers of a run
with pytest-xdist are forks of a second server, which the run starts before
anything else. If the tests have several workers, these share one server, which
imports while `workers` collects the tests.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import io
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

_IMPORTS = """
import importlib
import pkgutil
from contextlib import suppress

for name in ("altair", "jinja2", "tenacity", "vl_convert", "xdist.dsession", "xdist.remote"):
    with suppress(ImportError):
        importlib.import_module(name)

import numpy.random
import sqlalchemy.dialects.sqlite
import optuna
import filelock
import dspy.clients.engines.streaming
import dspy.clients.execution
import dspy.teleprompt
import pytest_mipro
from pytest_mipro.canonical import Record

for module in pkgutil.walk_packages(pytest_mipro.__path__, "pytest_mipro."):
    importlib.import_module(module.name)
filelock.FileLock
for record in Record.__subclasses__():
    record._adapter()
"""
"""A test module: pytest imports what it imports as in a run, with asserts rewritten.

DSPy comes last: where nothing is compiled yet, the server of the workers begins with it.
"""
_LONGEST = 60.0
"""Seconds that a thread may take to end."""
_REQUEST = 1 << 20
"""Bytes of a command line with its environment at most."""


class ForkedRun:
    """One run of pytest, with the part of ``subprocess.Popen`` that tests need.

    Attributes:
        pid: The number of its process, which leads a process group.
        stdout: What it prints, errors included; None if its streams were given.
        returncode: Its exit status, a signal's as a negative number; None while it runs.
    """

    def __init__(self, connection: socket.socket, stdout: IO[str] | None = None) -> None:
        self._connection = connection
        self._replies = connection.makefile("r", encoding="ascii")
        self.stdout = stdout
        self.pid = int(self._replies.readline())
        self.returncode: int | None = None

    def go(self) -> None:
        """Let the process begin; until then it waits, so that its number can be used."""
        self._connection.sendall(b"go")

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and its children."""
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the process has ended; kill it after ``timeout`` seconds."""
        if self.returncode is None:
            with self._killed_after(timeout), self._connection, self._replies as replies:
                self.returncode = int(replies.readline())
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Return what the process prints until it ends; kill it after ``timeout`` seconds."""
        assert self.stdout is not None
        with self._killed_after(timeout), self.stdout as stream:
            text = stream.read()
            self.wait()
        return text, None

    @contextmanager
    def _killed_after(self, timeout: float | None) -> Generator[None]:
        if timeout is None:
            yield
            return
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        try:
            yield
        finally:
            has_fired = timer.finished.is_set()
            timer.cancel()
        if has_fired:
            raise subprocess.TimeoutExpired("pytest", timeout)


class ForkServer:
    """The process that has imported everything, seen from a test."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    @classmethod
    @contextmanager
    def running(cls) -> Generator[ForkServer]:
        """Start the server, and end it after the block."""
        with server_process(__file__) as control:
            yield cls(control)

    @classmethod
    @contextmanager
    def shared(cls, address: str) -> Generator[ForkServer]:
        """Use the server of ``serving``."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(address)
            yield cls(control)

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        streams: Sequence[int] | None = None,
        prepare: Callable[[int], None] = lambda _: None,
        script: Path | None = None,
    ) -> ForkedRun:
        """Start pytest, or a script.

        Args:
            arguments: Its command line.
            cwd: Its working directory.
            env: Its environment, ``PYTHONPATH`` included.
            streams: File descriptors for standard input, output and error; a
                terminal becomes the one that controls the process. By default
                there is no input, and the outputs go to ``ForkedRun.stdout``.
            prepare: Called with the number of the process before that does anything.
            script: The script to run in place of pytest.
        """
        request = {
            "arguments": list(arguments),
            "cwd": str(cwd),
            "env": dict(env),
            "script": str(script or ""),
        }
        run = self._piped(request) if streams is None else ForkedRun(self._send(request, streams))
        prepare(run.pid)
        run.go()
        return run

    def start_worker(self, streams: Sequence[int]) -> ForkedRun:
        """Start, in the process group of this run, a process that reads what to do from its input.

        Args:
            streams: File descriptors for standard input, output and error.
        """
        request = {"arguments": None, "cwd": str(Path.cwd()), "env": dict(os.environ)}
        worker = ForkedRun(self._send(request, streams))
        worker.go()
        return worker

    def _piped(self, request: object) -> ForkedRun:
        nothing = os.open(os.devnull, os.O_RDONLY)
        reading, writing = os.pipe()
        try:
            connection = self._send(request, (nothing, writing, writing))
        finally:
            os.close(nothing)
            os.close(writing)
        return ForkedRun(connection, os.fdopen(reading, encoding="utf-8", errors="replace"))

    def _send(self, request: object, streams: Sequence[int]) -> socket.socket:
        here, there = socket.socketpair()
        with there:
            text = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(self._control, [text], [*streams, there.fileno()])
            self._control.sendall(text[sent:])
        return here


@contextmanager
def serving() -> Generator[str]:
    """Start a server for several processes, yield its address, and end it after the block."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(folder) / "forks")
        listener.bind(address)
        listener.listen()
        with server_process(__file__, listener):
            yield address


@contextmanager
def server_process(
    script: str, *listeners: socket.socket, arguments: Sequence[str] = ()
) -> Generator[socket.socket]:
    """Start the process of a server, which ends with the connection to it.

    Args:
        script: The file to run, with the numbers of its sockets as arguments.
        listeners: Its further sockets.
        arguments: Its further arguments.
    """
    here, there = socket.socketpair()
    numbers = [end.fileno() for end in (there, *listeners)]
    command = [sys.executable, script, *map(str, numbers), *arguments]
    with here, subprocess.Popen(command, pass_fds=numbers, stdin=subprocess.DEVNULL) as process:
        there.close()
        try:
            yield here
        finally:
            here.shutdown(socket.SHUT_RDWR)
            process.terminate()  # It may be importing still.


class Server:
    """The loop of the server process: fork for each request, report each end.

    Args:
        control: Gets requests, and ends the server when it is closed.
        listeners: At which further processes connect, which get forks as well.
    """

    def __init__(self, control: socket.socket, *listeners: socket.socket) -> None:
        self._control = control
        self._listeners = listeners
        self._clients: set[socket.socket] = set()
        self._ready = selectors.DefaultSelector()
        self._connections: dict[int, socket.socket] = {}
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> None:
        """Serve until the tests end; in the process of a run, raise SystemExit at its end."""
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno())
        with self._ready as ready:
            ready.register(self._control, selectors.EVENT_READ, self._fork)
            ready.register(self._woken, selectors.EVENT_READ, self._report)
            for listener in self._listeners:
                ready.register(listener, selectors.EVENT_READ, self._accept)
            while all(key.data(key.fileobj) for key, _ in ready.select()):
                pass

    def _accept(self, listener: socket.socket) -> bool:
        client, _ = listener.accept()
        self._clients.add(client)
        self._ready.register(client, selectors.EVENT_READ, self._fork_for_client)
        return True

    def _fork_for_client(self, client: socket.socket) -> bool:
        if not self._fork(client):
            self._ready.unregister(client)
            self._clients.remove(client)
            client.close()
        return True

    def _fork(self, control: socket.socket) -> bool:
        text, descriptors, _, _ = socket.recv_fds(control, _REQUEST, 4)
        if not text:
            return False
        while not text.endswith(b"\n"):
            text += control.recv(_REQUEST)
        *streams, reply = descriptors
        connection = socket.socket(fileno=reply)
        pid = os.fork()
        if not pid:
            self._release()
            request = json.loads(text)
            if request["arguments"] is not None:
                os.setsid()
            connection.sendall(f"{os.getpid()}\n".encode())
            connection.recv(_REQUEST)
            connection.close()
            _run(request, streams)
        for descriptor in streams:
            os.close(descriptor)
        self._connections[pid] = connection
        return True

    def _report(self, woken: socket.socket) -> bool:
        woken.recv(_REQUEST)
        while self._connections:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            with self._connections.pop(pid) as connection:
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        return True

    def _release(self) -> None:
        """Let go, in a new process, of what belongs to the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        own = (self._control, self._woken, self._waker, *self._listeners)
        for connection in (*own, *self._clients, *self._connections.values()):
            connection.close()


def _run(request: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """Do what ``python -m pytest``, or a worker of it, does in a new interpreter."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if os.isatty(0):
        _take_terminal()
    sys.stdin = os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", closefd=False, encoding="utf-8", errors="backslashreplace")
    os.environ.clear()
    os.environ.update(request["env"])
    # By its length and its time in seconds, a module that a test edits may be the one before.
    sys.dont_write_bytecode = request["arguments"] is not None
    os.chdir(request["cwd"])
    path = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [request["cwd"], *path]
    try:
        if request.get("script"):
            _execute_script(request["script"], request["arguments"])
        else:
            _execute(request["arguments"])
    except SystemExit as end:
        _end(end.code)
    _end(0)


def _execute(arguments: Sequence[str] | None) -> None:
    if arguments is None:
        exec(eval(sys.stdin.readline()), {})  # What execnet has each of its processes do.
        return
    sys.argv = ["pytest", *arguments]
    if any(argument.startswith("-n") for argument in arguments):
        _fork_workers()
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


def _execute_script(script: str, arguments: Sequence[str]) -> None:
    import multiprocessing

    # Its processes are forks as well.
    context = multiprocessing.get_context("fork")
    vars(multiprocessing)["get_context"] = lambda _: context
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


def _end(status: str | int | None) -> NoReturn:
    """End as the interpreter does, without taking the modules apart.

    That would write to all the memory that a fork shares: half of what a short run takes.
    """
    if not isinstance(status, int):  # The interpreter prints it.
        raise SystemExit(status)
    threading._shutdown()  # type: ignore[attr-defined]  # Typeshed leaves it out.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _fork_workers() -> None:
    """Have execnet fork its processes, from a server as this process is now."""
    here, there = socket.socketpair()
    if not os.fork():
        here.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run and its workers.
        Server(there).serve()
        os._exit(0)
    there.close()
    use_for_workers(ForkServer(here))


def use_for_workers(server: ForkServer) -> None:
    """Have execnet take forks of ``server`` where it starts interpreters of this machine."""
    from execnet import gateway_base, gateway_io

    class ForkedIO(gateway_base.Popen2IO):
        def __init__(self, _: object, execmodel: gateway_base.ExecModel) -> None:
            reading, to_worker = os.pipe()
            from_worker, writing = os.pipe()
            self._worker = server.start_worker([reading, writing, 2])
            os.close(reading)
            os.close(writing)
            super().__init__(os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb"), execmodel)

        def wait(self) -> int:
            return self._worker.wait()

        def kill(self) -> None:
            self._worker.send_signal(signal.SIGKILL)

    vars(gateway_io)["Popen2IOMaster"] = ForkedIO


def _take_terminal() -> None:
    import fcntl  # Windows has neither it nor forks.
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _import_all() -> None:
    """Import what runs import, through pytest, and leave the objects out of collections."""
    import pytest

    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(printed):
        module = Path(folder) / "test_imports.py"
        module.write_text(_IMPORTS, encoding="ascii")
        status = pytest.main(["-p", "no:cacheprovider", "--rootdir", folder, str(module)])
        assert status == pytest.ExitCode.NO_TESTS_COLLECTED, printed.getvalue()
        sys.modules.pop(module.stem)
        status = _run_project(Path(folder))
        assert status == pytest.ExitCode.OK, printed.getvalue()
    inspect.getmodule(sys._getframe())  # It looks up the files of all modules, as a failure does.
    for thread in threading.enumerate()[1:]:
        thread.join(_LONGEST)
    assert threading.active_count() == 1  # A fork has no other threads, but the locks they hold.
    gc.collect()
    gc.freeze()


def _run_project(folder: Path) -> int:
    """Compile a task, then take it from the store; return the status, and leave caches only."""
    import project
    import pytest

    from pytest_mipro.fingerprint.packages import forget_projects_under_test
    from pytest_mipro.redaction import SECRETS

    files = {"conftest": project.CONFTEST, "program": project.PROGRAM, "test_adder": project.TEST}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="ascii")
    path = [*sys.path]
    # What the tests have there is for them; a fork gets an environment of its own.
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    arguments = ["--rootdir", str(folder), "-W", "ignore", "-p", "no:cacheprovider"]
    arguments += ["-p", "pytest_mipro.plugin"]
    arguments += ["--mipro", "--mipro-optimizer", "labeled", str(folder / "test_adder.py")]
    statuses = [pytest.main(arguments) for _ in range(2)]
    sys.path[:] = path
    for name in (*files, project.__name__):
        sys.modules.pop(name)
    forget_projects_under_test()
    vars(SECRETS).update(vars(type(SECRETS)()))  # Else it forgets nothing.
    return max(statuses)


if __name__ == "__main__":
    sockets = [socket.socket(fileno=int(number)) for number in sys.argv[1:]]
    _import_all()
    Server(*sockets).serve()

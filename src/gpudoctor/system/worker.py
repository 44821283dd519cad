"""A long child that tells of its progress: documents on a pipe of their own, its output bounded, a limit for each step.

Not to be confused with: gpudoctor.system.child, whose children are short and are read when they are over.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import msgspec

from gpudoctor.system.child import Drain, Output, no_core_dump
from gpudoctor.system.protocol import CannotLook

# Of what a child prints, this much of the beginning and of the end is kept: a library's first complaint and its last.
KEPT_BYTES = 1 << 16
LINE_LIMIT_BYTES = 1 << 20
_WAITING_LINES = 256
# How long a child may live on after it closed its pipe: it ends by itself right after its last document.
_LINGER_S = 2.0
_POSIX = sys.platform != "win32"


class WorkerEnding(msgspec.Struct, frozen=True):
    """How a worker ended.

    Attributes:
        status: Exit status; negative is the signal that killed it.
        output: What it printed.
        timed_out: Whether it was killed because a step took too long.
        lost_pipe: Whether it was killed because it lived on with its pipe closed.
    """

    status: int
    output: Output
    timed_out: bool = False
    lost_pipe: bool = False


class Worker:
    """A started worker.

    Its process group is killed when it is over, also after an orderly end: nothing that it started outlives it.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it. Its last argument will be the file descriptor that it is to write documents to.

        Args:
            argv: The command line but for that argument.
            env: Its whole environment.

        Raises:
            CannotLook: It cannot be started.
        """
        reader, writer = os.pipe() if _POSIX else (-1, -1)
        try:
            with no_core_dump():
                self._process = subprocess.Popen(
                    [*argv, str(writer if _POSIX else 1)],
                    env=dict(env),
                    bufsize=0,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT if _POSIX else subprocess.PIPE,
                    pass_fds=(writer,) if _POSIX else (),
                    start_new_session=_POSIX,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            _close(reader, writer)
            raise CannotLook(f"{argv[0]}: cannot be started: {error}") from error
        _close(writer)
        atexit.register(self.stop)
        self._lines: queue.Queue[bytes | None] = queue.Queue(_WAITING_LINES)
        self._over = threading.Event()
        printed = self._process.stdout if _POSIX else self._process.stderr
        documents = os.fdopen(reader, "rb", 0) if _POSIX else self._process.stdout
        self._output = Drain(printed, KEPT_BYTES, KEPT_BYTES)
        threading.Thread(target=self._read, args=(documents,), name="gpudoctor-worker", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def follow(self, on_line: Callable[[bytes], bool], step_limit_s: float | None) -> WorkerEnding:
        """Hand over each line as it comes, until the worker is over or a step takes too long.

        Args:
            on_line: Called with each line; returns whether it was a document, which begins the next step.
            step_limit_s: Most seconds between two documents; None for no limit.
        """
        timed_out = lost = False
        try:
            deadline = _deadline(step_limit_s)
            while (line := self._next(deadline)) is not None:
                if on_line(line):
                    deadline = _deadline(step_limit_s)
        except queue.Empty:
            timed_out = True
        else:
            lost = not self._ended(_LINGER_S)
        finally:
            self.stop()
        return WorkerEnding(self._process.returncode, self._output.take(), timed_out, lost)

    def stop(self) -> None:
        """Kill it and all that it started, wait until it is gone, and hear no more of it."""
        atexit.unregister(self.stop)
        self._over.set()
        self.kill()
        if not self._ended(1.0):  # stuck in the kernel (state D): left behind, never waited for
            self._process.returncode = -9

    def kill(self) -> None:
        """Kill it and all that it started; whoever follows it comes to its end, with all that it still said."""
        with contextlib.suppress(OSError):
            if _POSIX:
                os.killpg(self._process.pid, getattr(signal, "SIGKILL", 9))
            else:
                self._process.kill()

    def _next(self, deadline: float | None) -> bytes | None:
        """Return the next line, None at the end of the pipe; raises queue.Empty when the time is over."""
        return self._lines.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _ended(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self, documents: IO[bytes] | None) -> None:
        """Cut the pipe into lines; a line that never ends is cut, too."""
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            while documents is not None and (part := documents.read(1 << 16)):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    self._put(line)
                rest = rest[-LINE_LIMIT_BYTES:]
        if documents is not None:
            documents.close()
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=0.2)
                return


def _deadline(limit_s: float | None) -> float | None:
    return None if limit_s is None else time.monotonic() + limit_s


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def own_pid() -> int:
    """Return the id of this process: a worker dies with it."""
    return os.getpid()

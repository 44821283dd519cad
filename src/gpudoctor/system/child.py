"""Child processes with a time limit: whatever can hang or crash runs in one."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import msgspec

from gpudoctor.system.protocol import CannotLook, ChildResult

OUTPUT_LIMIT_BYTES = 1 << 20
# What a child that is dead, or that has nothing more to say, is given to be reaped.
_GRACE_S = 0.05
_KILL_GRACE_S = 1.0
_NO_STATUS = -int(getattr(signal, "SIGKILL", 9))


class RealChild:
    """A started child; see gpudoctor.system.protocol.Child.

    Its output is read from the moment it starts, so that it never waits for us, and kept up to OUTPUT_LIMIT_BYTES:
    what a flood brings beyond that is read and thrown away.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._result: ChildResult | None = None
        try:
            with no_core_dump():
                # No preexec_fn: it would forbid vfork.
                self._process = subprocess.Popen(
                    list(argv),
                    env=dict(env),
                    bufsize=0,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=sys.platform != "win32",
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise CannotLook(f"{argv[0]}: cannot be started: {error}") from error
        # A probe that is given up (Ctrl-C, an error elsewhere) must not outlive us.
        atexit.register(self._kill)
        self._out = Drain(self._process.stdout, OUTPUT_LIMIT_BYTES)
        self._err = Drain(self._process.stderr, OUTPUT_LIMIT_BYTES)

    def result(self) -> ChildResult:
        """Wait for the end or the time limit and return how it went."""
        if self._result is None:
            self._result = self._finish()
        return self._result

    def _finish(self) -> ChildResult:
        for drain in (self._out, self._err):
            drain.join(max(_GRACE_S, self._deadline - time.monotonic()))
        timed_out = not self._ended(max(_GRACE_S, self._deadline - time.monotonic()))
        # Also after an orderly end: what it left behind in its group would hold the pipes open.
        self._kill()
        if timed_out:
            self._ended(_KILL_GRACE_S)
        atexit.unregister(self._kill)
        status = self._process.returncode
        if status is None:  # stuck in the kernel (state D): left behind, never waited for
            self._process.returncode = status = _NO_STATUS
        return ChildResult(status, self._out.take().head, self._err.take().head, timed_out)

    def _ended(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)


class Output(msgspec.Struct, frozen=True):
    """What came through a pipe.

    Attributes:
        head: The beginning.
        tail: The end of what came after it.
        dropped_bytes: How much was between them.
    """

    head: bytes = b""
    tail: bytes = b""
    dropped_bytes: int = 0

    def lines(self) -> tuple[bytes, ...]:
        """Return its lines, with one that says how much was left out."""
        middle = b"\n[%d bytes left out]\n" % self.dropped_bytes if self.dropped_bytes else b""
        return tuple((self.head + middle + self.tail).splitlines())


class Drain:
    """Reads one pipe to its end in a thread; keeps a bounded beginning, and a bounded end where that is wanted."""

    def __init__(self, pipe: IO[bytes] | None, head_bytes: int, tail_bytes: int = 0) -> None:
        self._pipe = pipe
        self._limits = head_bytes, tail_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="gpudoctor-child", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._pipe is None:
            return
        head, tail = self._limits
        with contextlib.suppress(OSError, ValueError), self._pipe:
            while part := os.read(self._pipe.fileno(), 1 << 16):
                room = head - len(self._head)
                self._head += part[:room]
                self._tail += part[room:]
                if len(self._tail) > 2 * tail:  # not at every part: each time costs a copy
                    self._trim()

    def _trim(self) -> None:
        surplus = max(0, len(self._tail) - self._limits[1])
        del self._tail[:surplus]
        self._dropped += surplus

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the pipe."""
        self._thread.join(timeout_s)

    def take(self) -> Output:
        """Return what came. A pipe that a runaway grandchild holds open is left to its daemon thread."""
        self._thread.join(_GRACE_S)
        if not self._thread.is_alive():
            self._trim()
        return Output(bytes(self._head), bytes(self._tail), self._dropped)


@contextlib.contextmanager
def no_core_dump() -> Iterator[None]:
    """Let what is started meanwhile inherit a core limit that forbids a dump.

    The limit is 1 byte, not 0: Linux asks a piped core handler (systemd-coredump, apport) even when the limit is 0,
    and takes exactly 1 to mean "no dump at all".

    Source: https://github.com/torvalds/linux/blob/v6.6/fs/coredump.c (2026-11-20)
    """
    if sys.platform == "win32":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))

"""Running a command as if nobody stood between: output passes through as it comes, and a copy is looked at."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import IO

import msgspec

from gpudoctor.system.execution import CannotRun

_FORWARDED = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH")
# A line longer than this is handed on in parts.
_LINE_BYTES = 64 << 10
# What a grandchild that holds the pipe open is waited for after the command itself has ended.
_DRAIN_GRACE_S = 2.0


class Ended(msgspec.Struct, frozen=True):
    """How a command ended.

    Attributes:
        status: Its exit status; None when a signal ended it.
        signal: The signal's name; None when it exited.
        signal_number: Its number; 0 when it exited.
    """

    status: int | None
    signal: str | None
    signal_number: int

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it with Ctrl-C."""
        return self.signal == "SIGINT" or self.status == 128 + signal.SIGINT

    @property
    def shell_status(self) -> int:
        """The status as a shell would give it: 128 and the signal's number after a death by signal."""
        return self.status if self.status is not None else 128 + self.signal_number


def run_through(path: str, argv: Sequence[str], look: Callable[[bytes], None]) -> Ended:
    """Run a command with our standard input, pass its output on, and show each complete line to a function.

    Signals that ask us to end are passed on to the command; Ctrl-C reaches it from the terminal itself.

    Args:
        path: Its file, from find_program.
        argv: The command as the user wrote it.
        look: Is given lines of either stream, as they come. Never called twice at once.

    Raises:
        CannotRun: It cannot be started.
    """
    try:
        process = subprocess.Popen(
            list(argv), executable=path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
    except (OSError, ValueError) as error:
        raise CannotRun(f"{argv[0]}: cannot be executed: {error}", 126) from error
    lock = threading.Lock()
    tees = [_Tee(process.stdout, 1, look, lock), _Tee(process.stderr, 2, look, lock)]
    with _forwarding(process):
        for tee in tees:
            tee.start()
        code = process.wait()
    for tee in tees:
        tee.join(_DRAIN_GRACE_S)
    return _ended(code)


def _ended(code: int) -> Ended:
    if code >= 0:
        return Ended(code, None, 0)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return Ended(None, name, -code)


@contextlib.contextmanager
def _forwarding(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals on while the command runs; Ctrl-C is left to the command, which has it from the terminal."""
    before: dict[int, object] = {}

    def forward(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            process.send_signal(number)

    handlers: dict[str, object] = dict.fromkeys(_FORWARDED, forward)
    handlers["SIGINT"] = (lambda *_: None) if _has_terminal() else forward
    for name, handler in handlers.items():
        number = getattr(signal, name, None)
        if number is not None:
            with contextlib.suppress(OSError, ValueError):
                before[number] = signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(OSError, ValueError, TypeError):
                signal.signal(number, handler)  # type: ignore[arg-type]


def _has_terminal() -> bool:
    return any(os.isatty(descriptor) for descriptor in (0, 1, 2) if _is_open(descriptor))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class _Tee(threading.Thread):
    """Copies one stream to ours and hands its lines on."""

    def __init__(self, pipe: IO[bytes] | None, to: int, look: Callable[[bytes], None], lock: threading.Lock) -> None:
        super().__init__(name="gpudoctor-explain", daemon=True)
        self._pipe = pipe
        self._to = to
        self._look = look
        self._lock = lock

    def run(self) -> None:
        """Copy until the end."""
        if self._pipe is None:
            return
        pending = b""
        with contextlib.suppress(OSError, ValueError), self._pipe:
            while part := os.read(self._pipe.fileno(), 1 << 16):
                if not _write_all(self._to, part):
                    break  # our reader went away: closing the pipe tells the command so
                pending = self._hand_on(pending + part)
        if pending:
            self._show(pending + b"\n")

    def _hand_on(self, data: bytes) -> bytes:
        end = data.rfind(b"\n") + 1
        if not end and len(data) > _LINE_BYTES:
            end = len(data)
        if end:
            self._show(data[:end])
        return data[end:]

    def _show(self, lines: bytes) -> None:
        with self._lock:
            self._look(lines)


def _write_all(descriptor: int, data: bytes) -> bool:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return False
    return True


def flush_own_output() -> None:
    """Write out what we have buffered, so that it stands before the command's output."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()

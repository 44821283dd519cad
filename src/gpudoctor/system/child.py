"""Child processes with a time limit: whatever can hang or crash runs in one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from gpudoctor.system.protocol import CannotLook, ChildResult

OUTPUT_LIMIT_BYTES = 1 << 20


class RealChild:
    """A started child; see gpudoctor.system.protocol.Child."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        try:
            self._process = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise CannotLook(f"{argv[0]}: cannot be started: {error}") from error

    def result(self) -> ChildResult:
        """Wait for the end or the time limit and return how it went."""
        timed_out = False
        try:
            out, err = self._process.communicate(timeout=max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            timed_out = True
            self._kill()
            out, err = self._drain()
        return ChildResult(self._process.returncode or 0, out[:OUTPUT_LIMIT_BYTES], err[:OUTPUT_LIMIT_BYTES], timed_out)

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _drain(self) -> tuple[bytes, bytes]:
        """Collect what a killed child wrote; a child stuck in the kernel (state D) is left behind, never waited for."""
        try:
            return self._process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            return b"", b""

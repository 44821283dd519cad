"""Children of another user: as root, a permission test proves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpudoctor.system.protocol import Child
from gpudoctor.system.real import RealSystem

NOBODY = 65534
_DROP = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
# An interpreter in root's home is out of nobody's reach: the right to read (never to write) is kept for it.
_KEEP_READING = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
_CHECK = "import ctypes, os, sys; assert os.geteuid() != 0; [open(path).close() for path in sys.argv[1:]]"


class UnprivilegedSystem(RealSystem):
    """The real machine, whose children run as a user that owns nothing."""

    def __init__(self, *readable: Path) -> None:
        super().__init__()
        self._prefix = unprivileged_prefix(readable)

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Child:
        return super().start((*self._prefix, *argv), {"PATH": os.environ["PATH"], **env}, timeout_s)


def unprivileged_prefix(readable: Sequence[Path]) -> tuple[str, ...]:
    """Return what drops root's rights and still lets a child read the given files.

    Raises:
        AssertionError: Root's rights cannot be dropped here: the test must fail, for it would prove nothing.
    """
    if os.geteuid() != 0:
        return ()
    check = (sys.executable, "-I", "-S", "-c", _CHECK, *map(str, readable))
    problems = []
    for prefix in (_DROP, (*_DROP, *_KEEP_READING)):
        done = subprocess.run((*prefix, *check), capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return prefix
        problems.append(done.stderr.strip())
    raise AssertionError(f"no child without root's rights can be started here: {problems}")

"""Starting uv or pip: argument lists, no shell, progress passed on to standard error while it happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

import msgspec

from gpudoctor.system.changes import CannotChange

# A wheel of torch is 900 MB, and a slow line brings it in an hour.
TIME_LIMIT_S = 3600.0
_KEPT_BYTES = 32 << 20
_KILL_GRACE_S = 5.0
# They would send the installer, or the interpreter that it asks, elsewhere than to the environment it is told.
_MISLEADING = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "LD_PRELOAD",
    "UV_TARGET",
    "UV_PREFIX",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT_ENVIRONMENT",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
    "PIP_DRY_RUN",
    "PIP_REPORT",
)
_SETTINGS = {
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    "NO_COLOR": "1",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_PROGRESS_BAR": "off",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class InstallerResult(msgspec.Struct, frozen=True):
    """How an installer ended.

    Attributes:
        status: Exit status; negative is the signal that ended it.
        out: Its output.
        err: Its error output.
        timed_out: Whether it was ended at the time limit.
    """

    status: int
    out: str
    err: str
    timed_out: bool = False


def find_uv(environment: Mapping[str, str]) -> str | None:
    """Return uv: the one beside this interpreter, else the first on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "uv.exe" if sys.platform == "win32" else "uv")
    if os.path.isfile(beside) and os.access(beside, os.X_OK):
        return beside
    found = shutil.which("uv", path=environment.get("PATH", os.defpath))
    return os.path.abspath(found) if found else None


def run_installer(
    argv: Sequence[str], environment: Mapping[str, str], *, echo: bool, timeout_s: float = TIME_LIMIT_S
) -> InstallerResult:
    """Run an installer to its end.

    Args:
        argv: The command.
        environment: The variables of this process; what would lead the installer elsewhere is left out.
        echo: Pass on to standard error what it says.
        timeout_s: It is ended after that.

    Raises:
        CannotChange: It cannot be started.
    """
    variables = {k: v for k, v in environment.items() if k not in _MISLEADING}
    variables.update({k: v for k, v in _SETTINGS.items() if k not in variables})
    try:
        process = subprocess.Popen(
            list(argv),
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=sys.platform != "win32",
            preexec_fn=_dying_with_parent(),
        )
    except (OSError, ValueError) as error:
        raise CannotChange(f"{argv[0]}: cannot be started: {error}") from error
    streams = [_Stream(process.stdout, echo), _Stream(process.stderr, echo)]
    timed_out = False
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
        _end(process)
    except BaseException:  # Ctrl-C: what it half did is taken back by the caller, so it must not go on
        _end(process)
        raise
    out, err = (s.text() for s in streams)
    return InstallerResult(process.returncode, out, err, timed_out)


def _dying_with_parent() -> Callable[[], None] | None:
    """Return what makes a child end when this process is killed: it must not go on while its work is taken back.

    Source: prctl(2), PR_SET_PDEATHSIG (2026-11-20).
    """
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    number = int(signal.SIGKILL)

    def die_too() -> None:
        prctl(1, number, 0, 0, 0)

    return die_too


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_GRACE_S)
            return


class _Stream:
    """Reads a pipe to its end in a thread, keeps the beginning, and passes it on where that is wanted."""

    def __init__(self, pipe: IO[bytes] | None, echo: bool) -> None:
        self._pipe = pipe
        self._echo = echo
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._run, name="gpudoctor-installer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while self._pipe is not None:
                part = os.read(self._pipe.fileno(), 1 << 16)
                if not part:
                    return
                self._kept += part[: _KEPT_BYTES - len(self._kept)]
                if self._echo:
                    sys.stderr.write(_printable(part.decode("utf-8", "replace")))
                    sys.stderr.flush()

    def text(self) -> str:
        self._thread.join(_KILL_GRACE_S)
        if self._pipe is not None and not self._thread.is_alive():
            self._pipe.close()
        return bytes(self._kept).decode("utf-8", "replace")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "" for c in text)


@contextlib.contextmanager
def without_lock_file(prefix: str) -> Iterator[None]:
    """Take away the `.lock` that uv leaves in an environment where there was none, and restore the folder's time."""
    path = os.path.join(prefix, ".lock")
    there = os.path.lexists(path)
    try:
        before = os.stat(prefix).st_mtime_ns
    except OSError:
        before = None
    try:
        yield
    finally:
        if not there and os.path.lexists(path):
            with contextlib.suppress(OSError):
                os.unlink(path)
                if before is not None:
                    os.utime(prefix, ns=(before, before))


@contextlib.contextmanager
def report_file() -> Iterator[str]:
    """Give an installer a path to write a report to, for as long as it runs and is read."""
    with tempfile.TemporaryDirectory(prefix="gpudoctor-") as folder:
        yield os.path.join(folder, "report.json")


@contextlib.contextmanager
def requirements_file(text: str) -> Iterator[str]:
    """Give an installer a text as a requirements file, outside every environment, for as long as it runs."""
    with tempfile.TemporaryDirectory(prefix="gpudoctor-") as folder:
        path = os.path.join(folder, "requirements.txt")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        yield path

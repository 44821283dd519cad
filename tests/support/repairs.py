"""A small environment with something to repair, and repairs that end where a test wants them to."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from gpudoctor.fix.plan import FixRequest, NothingToDo, plan_fix
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.repair import Outcome, Workshop, see
from gpudoctor.fix.types import Plan
from gpudoctor.probes.take import SnapshotRequest
from gpudoctor.system.changes import RealChanges
from gpudoctor.system.real import RealSystem
from support.gpuenvs import GpuEnv

OPS, CNN, BLAS = "libcudnn_ops.so.9", "libcudnn_cnn.so.9", "libcublas.so.12"
CUDNN = "nvidia/cudnn/lib"


class HomedSystem(RealSystem):
    """The real machine with an environment of a test's own."""

    def __init__(self, state: Path, **more: str) -> None:
        super().__init__()
        self._environment = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(state), **more}

    def environ(self) -> dict[str, str]:
        return self._environment


class KilledChanges(RealChanges):
    """Changes by a process that is killed at one moment: before, in or after any of them."""

    def __init__(self, moment: int) -> None:
        self._left = moment

    def _moment(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def write_file(self, path: str, content: bytes, **options: object) -> None:  # type: ignore[override]
        self._moment()
        super().write_file(path, content, **options)  # type: ignore[arg-type]
        self._moment()

    def _fill(self, path: str, content: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        if self._left == 0:
            Path(path).write_bytes(content[: len(content) // 2])
        self._moment()
        super()._fill(path, content, mode, owner)
        self._moment()

    def append(self, path: str, line: bytes) -> None:
        self._moment()
        if self._left == 0:
            with open(path, "ab") as file:
                file.write(line[: len(line) // 2])
        self._moment()
        super().append(path, line)
        self._moment()

    def make_link(self, path: str, text: str) -> None:
        self._moment()
        super().make_link(path, text)
        self._moment()

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        self._moment()
        super().make_folder(path, mode)
        self._moment()

    def make_folders(self, path: str) -> None:
        self._moment()
        super().make_folders(path)
        self._moment()

    def remove(self, path: str) -> None:
        self._moment()
        super().remove(path)
        self._moment()

    def remove_folder(self, path: str) -> None:
        self._moment()
        super().remove_folder(path)
        self._moment()

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        self._moment()
        super().set_mtime(path, mtime_ns)
        self._moment()


class Patient:
    """An environment whose consumer misses libraries that lie in it.

    Attributes:
        env: The environment.
        system: The machine.
    """

    def __init__(self, folder: Path) -> None:
        self.env = GpuEnv(folder / "env")
        (self.env.root / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
        for name, version in ((OPS, "9.1.0"), (CNN, "9.1.0")):
            self.env.library(CUDNN, name, version)
        own = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../ctspeech.libs"
        (self.env.site / "ctspeech.libs").mkdir()
        self.env.consumer("ctspeech", opens=(OPS, CNN), flags=(own,))
        for name in ("activate", "activate.fish", "activate.csh"):
            script = self.env.root / "bin" / name
            script.write_text("# what the environment's maker wrote")  # without a newline at its end
            script.chmod(0o640)
            os.utime(script, ns=(10**18, 10**18 + 7))
        self.system = HomedSystem(folder / "state")
        self.matrix = self.env.matrix
        self.request = SnapshotRequest(python=str(self.env.python), own_python=sys.executable)

    def workshop(self, changes: RealChanges | None = None) -> Workshop:
        confined = RealChanges((str(self.env.root), self.system.environ()["XDG_STATE_HOME"]))
        return Workshop(self.system, changes or confined, str(self.env.root))

    def see(self) -> FixRequest:
        return see(self.system, self.matrix, self.request)

    def plan(self, strategy: str | None = None) -> Plan | NothingToDo | Refusal:
        request = msgspec.structs.replace(self.see(), strategy=strategy)
        return plan_fix(self.system, RealChanges(), self.matrix, request)

    def apply(self, strategy: str | None = None, changes: RealChanges | None = None) -> Outcome:
        """Do what `fix --apply --yes` does."""
        workshop = self.workshop(changes)
        with workshop.lock():
            workshop.settle()
        plan = self.plan(strategy)
        assert isinstance(plan, Plan), plan
        with workshop.lock():
            return workshop.carry_out(self.matrix, self.request, plan)

    def undo(self, changes: RealChanges | None = None) -> tuple[str, ...]:
        """Do what `fix --undo` does."""
        workshop = self.workshop(changes)
        with workshop.lock():
            return workshop.undo(None)[1]


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked process and return its wait status: 0 when it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a child must never go on with its parent's work
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(9)
    return os.waitpid(pid, 0)[1]

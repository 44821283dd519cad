from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpudoctor.system.child import OUTPUT_LIMIT_BYTES
from gpudoctor.system.children import child_argv, child_environment, folder_of
from gpudoctor.system.protocol import CannotLook, ChildResult
from gpudoctor.system.real import RealSystem

PATIENT_S = 60.0


def run(code: str, timeout_s: float = PATIENT_S, **env: str) -> ChildResult:
    return RealSystem().start((sys.executable, "-I", "-S", "-c", code), env, timeout_s).result()


def test_output_status_and_environment_are_passed() -> None:
    done = run("import os, sys; print(sorted(os.environ)); sys.stderr.write('e'); sys.exit(7)", ONLY="this")

    assert (done.status, done.stderr, done.timed_out) == (7, b"e", False)
    assert b"ONLY" in done.stdout
    assert b"PATH" not in done.stdout


def test_there_is_no_standard_input() -> None:
    assert run("import sys; print(repr(sys.stdin.read()))").stdout == b"''\n"


def test_the_result_can_be_asked_for_twice() -> None:
    child = RealSystem().start((sys.executable, "-I", "-S", "-c", "print(1)"), {}, PATIENT_S)

    assert child.result() is child.result()


def test_a_child_that_ended_long_before_it_is_asked_did_not_time_out() -> None:
    child = RealSystem().start((sys.executable, "-I", "-S", "-c", "print('done')"), {}, 5.0)
    time.sleep(5.5)

    done = child.result()

    assert (done.status, done.stdout, done.timed_out) == (0, b"done\n", False)


def test_a_child_writes_while_nobody_waits(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"import sys; sys.stdout.write('x' * 500_000); sys.stdout.flush(); open({str(mark)!r}, 'w')"
    child = RealSystem().start((sys.executable, "-I", "-S", "-c", code), {}, PATIENT_S)
    deadline = time.monotonic() + 30
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.01)

    assert mark.exists(), "the child was kept waiting at a full pipe"
    assert len(child.result().stdout) == 500_000


def test_a_child_and_its_children_are_killed_at_the_limit(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, subprocess, sys, time\n"
        "grandchild = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(grandchild.pid))\n"
        "print('begun', flush=True)\n"
        "time.sleep(600)\n"
    )
    began = time.monotonic()
    done = run(code, timeout_s=3.0)

    assert time.monotonic() - began < 60
    assert (done.timed_out, done.stdout, done.status) == (True, b"begun\n", -9)
    assert gone(int(pid_file.read_text()))


def test_what_an_ended_child_leaves_behind_is_killed_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, sys, time\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    time.sleep(600)\n"
        f"open({str(pid_file)!r}, 'w').write(str(pid))\n"
        "print('bye', flush=True)\n"
        "os._exit(0)\n"
    )
    done = run(code, timeout_s=2.0)

    assert (done.timed_out, done.stdout, done.status) == (False, b"bye\n", 0)
    assert gone(int(pid_file.read_text()))


def test_a_grandchild_that_escapes_with_the_pipes_freezes_nobody() -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(20)\n"
        "    os._exit(0)\n"
        "print('bye', flush=True)\n"
        "os._exit(0)\n"
    )
    began = time.monotonic()
    done = run(code, timeout_s=1.0)

    assert time.monotonic() - began < 15
    assert (done.status, done.stdout, done.timed_out) == (0, b"bye\n", False)


def test_a_child_that_ignores_signals_is_killed() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

    assert run(code, timeout_s=1.0).status == -9


def test_a_flood_is_read_and_thrown_away() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = run("import os\nfor _ in range(4096): os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)")
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert (done.status, done.timed_out) == (0, False)
    assert len(done.stdout) == len(done.stderr) == OUTPUT_LIMIT_BYTES
    assert grown_kib < 64 << 10, "512 MiB were written"


def test_a_crash_is_a_negative_status_and_leaves_no_core(tmp_path: Path) -> None:
    # The tests themselves may run under a limit of 0, which would prove nothing: the program under test lifts it.
    code = (
        "import resource, sys\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "from gpudoctor.system.real import RealSystem\n"
        "crash = 'import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True); os.abort()'\n"
        "done = RealSystem().start((sys.executable, '-I', '-S', '-c', crash), {}, 60).result()\n"
        "print(done.status, done.stdout.decode().strip(), resource.getrlimit(resource.RLIMIT_CORE) == (hard, hard))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )

    status, limit, restored = done.stdout.split()
    assert (status, restored) == ("-6", "True")
    assert limit in ("0", "1")
    assert not list(tmp_path.iterdir())


def test_a_child_that_nobody_waits_for_dies_with_us(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    sleeper = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    code = (
        "import os, sys, time\n"
        "from gpudoctor.system.real import RealSystem\n"
        f"child = RealSystem().start((sys.executable, '-I', '-S', '-c', {sleeper!r}), {{}}, 600)\n"
        f"while not os.path.exists({str(pid_file)!r}) or not open({str(pid_file)!r}).read():\n"
        "    time.sleep(0.01)\n"
        "raise SystemExit(5)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=60, check=False)

    assert done.returncode == 5
    assert gone(int(pid_file.read_text()))


@pytest.mark.parametrize("argv", [("/no/such/program",), ("/etc/passwd",), ("bad\0name",)])
def test_a_program_that_cannot_be_started(argv: tuple[str, ...]) -> None:
    with pytest.raises(CannotLook, match="cannot be started"):
        RealSystem().start(argv, {}, 1.0)


def test_an_environment_that_no_process_can_have() -> None:
    with pytest.raises(CannotLook, match="cannot be started"):
        RealSystem().start((sys.executable, "-V"), {"A": "b\0c"}, 1.0)


def test_our_own_children_run_isolated() -> None:
    argv = child_argv("nvml", "x")

    assert argv[0] == sys.executable
    assert "-I" in argv
    assert os.path.isfile(argv[-2])


def test_what_injects_or_traces_is_not_passed_on() -> None:
    judged = {"LD_PRELOAD": "x", "LD_AUDIT": "x", "LD_DEBUG_OUTPUT": "x", "LD_LIBRARY_PATH": "y", "LD_BIND_NOW": "1"}

    assert child_environment(judged) == {"LD_LIBRARY_PATH": "y", "LD_BIND_NOW": "1"}


def test_an_interpreter_without_a_path_cannot_start_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", None)

    with pytest.raises(CannotLook):
        child_argv("nvml")


def test_the_folder_of_a_module() -> None:
    assert os.path.isfile(os.path.join(folder_of("pynvml") or "", "pynvml.py"))
    assert folder_of("no_such_module_here") is None


def gone(pid: int) -> bool:
    """Tell, within a moment, whether a process is dead (or a zombie that waits for its new parent)."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False

"""Child of a deep check: imports packages in the target's interpreter and makes, one process each, the calls asked for.

Started by the *target* interpreter with `-B -c BOOT canary_steps.py PLAN`; standard library only, Python 3.8 and later;
imports nothing of ours but canary_calls.py beside it, and writes no file. PLAN is JSON: see gpudoctor.canary.steps. One
JSON document a line goes to standard output, each as soon as it is known: what was learnt before a crash is kept.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import time
import warnings
from importlib.util import module_from_spec, spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gpudoctor.system.children import canary_calls as calls
else:
    # By its path: the folder of this program must not be on the sys.path that the target's packages see.
    spec = spec_from_file_location("canary_calls", os.path.join(os.path.dirname(sys.argv[1]), "canary_calls.py"))
    calls = module_from_spec(spec)
    spec.loader.exec_module(calls)

EXCERPT_BYTES = 8192
ANSWER_BYTES = 1 << 18
# After the death of a step, what a process that it left behind still writes is not waited for.
LINGER_S = 0.2


def main() -> None:
    """Run the plan: stage after stage, each an import and the steps that follow from it."""
    plan = json.loads(sys.argv[2])
    # What a package or a driver library prints on stdout must not mix with the documents.
    out = os.dup(1)
    os.dup2(2, 1)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

    def say(document: dict[str, Any]) -> None:
        os.write(out, encoded(document))

    maps = calls.Maps(plan["libraries"])
    for number, stage in enumerate(plan["stages"]):
        if not import_stage(number, stage, plan, maps, say):
            break
        run_steps(number, stage["steps"], plan, maps, say)
    # Not through the exit handlers of what was imported: all is said, and they could still hang.
    os._exit(0)


def import_stage(
    number: int, stage: dict[str, Any], plan: dict[str, Any], maps: calls.Maps, say: Callable[[dict[str, Any]], None]
) -> bool:
    """Import a stage's module; the alarm kills this process when that takes too long. Returns whether it worked."""
    module = stage["module"]
    if not module:
        return True
    say({"stage": number, "step": "import", "outcome": "begun"})
    started = time.monotonic()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, plan["limit_s"])
    ending: dict[str, Any] = {"outcome": "ok"}
    try:
        version = getattr(importlib.import_module(module), "__version__", "?")
        ending["calls"] = [[f"{module}.__version__", str(version), None]]
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are answers as well
        ending = {"outcome": "failed", "reason": calls.told(error), "failed_call": f"import {module}"}
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(dict(ending, stage=number, step="import", maps=maps.now(), ms=ms_since(started)))
    return bool(ending["outcome"] == "ok")


def run_steps(
    number: int,
    steps: list[dict[str, Any]],
    plan: dict[str, Any],
    maps: calls.Maps,
    say: Callable[[dict[str, Any]], None],
) -> None:
    """Run the steps of a stage; what follows from one that failed is skipped."""
    failed = set()
    run = run_here if plan["in_process"] else run_forked
    for step in steps:
        if step["after"] in failed:
            ending: dict[str, Any] = {"outcome": "skipped", "reason": f"{step['after']} did not succeed before it"}
        else:
            ending = run(step, plan, maps)
        if ending["outcome"] != "ok":
            failed.add(step["name"])
        say(dict(ending, stage=number, step=step["name"]))


# --- one step --------------------------------------------------------------------------------------------------------


def run_forked(step: dict[str, Any], plan: dict[str, Any], maps: calls.Maps) -> dict[str, Any]:
    """Run a step in a fork of this process, so that only the fork dies of it."""
    answer_read, answer_write = os.pipe()
    error_read, error_write = os.pipe()
    with warnings.catch_warnings():
        # From 3.12 on a fork beside threads warns; OpenBLAS and OpenMP have threads, and handle the fork.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        try:
            os.dup2(error_write, 1)
            os.dup2(error_write, 2)
            calls.perform(step, maps, lambda document: os.write(answer_write, encoded(document)))
        finally:
            os._exit(0)
    os.close(answer_write)
    os.close(error_write)
    started = time.monotonic()
    watch = Watch(pid, answer_read, error_read, started + plan["limit_s"])
    status, timed_out = watch.wait()
    os.close(answer_read)
    os.close(error_read)
    ending = read_answer([json.loads(line.decode()) for line in watch.kept[answer_read].split(b"\n")[:-1]])
    ending["ms"] = ms_since(started)
    ending["stderr"] = bytes(watch.kept[error_read][-EXCERPT_BYTES:]).decode("utf-8", "replace")
    if timed_out:
        ending["outcome"] = "timeout"
    elif os.WIFSIGNALED(status):
        ending["outcome"] = "crashed"
        ending["signal"] = os.WTERMSIG(status)
    elif "outcome" not in ending:
        ending["outcome"] = "crashed"
        ending["reason"] = f"the process ended by itself, with status {os.WEXITSTATUS(status)}"
    return ending


def run_here(step: dict[str, Any], plan: dict[str, Any], maps: calls.Maps) -> dict[str, Any]:
    """Run a step in this very process: for a trace of the loader, or where a fork is not to be trusted."""
    said: list[dict[str, Any]] = []
    started = time.monotonic()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, plan["limit_s"])
    calls.perform(step, maps, said.append)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return dict(read_answer(said), ms=ms_since(started))


def read_answer(said: list[dict[str, Any]]) -> dict[str, Any]:
    """Fold what a step said into its ending; without an outcome when it did not come to its end."""
    ending: dict[str, Any] = {"calls": [], "maps": []}
    for document in said:
        if "begin" in document:
            ending["failed_call"] = document["begin"]
        if "call" in document:
            ending["calls"].append([document["call"], document["value"], document["path"]])
        ending.update({name: document[name] for name in ("maps", "outcome", "reason") if name in document})
    if ending.get("outcome") in ("ok", "skipped"):
        ending.pop("failed_call", None)
    return ending


class Watch:
    """Reads a child's answer and its error output, bounded, until it ends or its time is over.

    Attributes:
        kept: What came, by pipe: the beginning of the answer, the end of the error output.
    """

    def __init__(self, pid: int, answer: int, errors: int, deadline: float) -> None:
        self._pid = pid
        self._answer = answer
        self._deadline = deadline
        self._open = [answer, errors]
        self.kept = {answer: bytearray(), errors: bytearray()}

    def wait(self) -> tuple[int, bool]:
        """Return the wait status and whether the child was killed at the deadline."""
        timed_out = False
        while True:
            done, status = os.waitpid(self._pid, 0 if timed_out else os.WNOHANG)
            if done:
                self._drain()
                return status, timed_out
            if time.monotonic() >= self._deadline:
                os.kill(self._pid, signal.SIGKILL)
                timed_out = True
            elif not self._read(0.01):
                time.sleep(0.001)

    def _drain(self) -> None:
        until = time.monotonic() + LINGER_S
        while self._open and time.monotonic() < until and self._read(0):
            pass

    def _read(self, timeout_s: float) -> bool:
        """Read what is there; returns whether anything came, the end of a pipe included."""
        ready = select.select(self._open, [], [], timeout_s)[0] if self._open else []
        for fd in ready:
            part = os.read(fd, 65536)
            kept = self.kept[fd]
            if not part:
                self._open.remove(fd)
            elif fd == self._answer:
                kept += part[: ANSWER_BYTES - len(kept)]
            else:
                kept += part
                del kept[: max(0, len(kept) - 4 * EXCERPT_BYTES)]
        return bool(ready)


def encoded(document: dict[str, Any]) -> bytes:
    """Return a document as a line; what is no UTF-8 in a path becomes a question mark."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def ms_since(started: float) -> int:
    """Return the milliseconds since a moment."""
    return int((time.monotonic() - started) * 1000)


if __name__ == "__main__":
    main()

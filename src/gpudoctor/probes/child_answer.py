"""Children that print one JSON document a line: started, waited for, and read as far as they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from gpudoctor.model.snapshot import ProbeReport
from gpudoctor.system.children import child_argv, child_environment
from gpudoctor.system.protocol import CannotLook, Child, ChildResult, ReadSystem

L = TypeVar("L")


class Pending(msgspec.Struct, frozen=True):
    """A probe under way.

    Attributes:
        probe: Its name.
        timeout_s: Its time limit.
        child: The child; None when it could not be started.
        reason: Why not.
    """

    probe: str
    timeout_s: float
    child: Child | None
    reason: str | None = None


class Ending(msgspec.Struct, Generic[L], frozen=True):
    """How a probe's child ended, and what it said before.

    Attributes:
        lines: Its documents, in order.
        reason: Why there are no more of them; None when it came to its end.
        report: The same for the snapshot.
    """

    lines: tuple[L, ...]
    reason: str | None
    report: ProbeReport


def start_child(
    system: ReadSystem, probe: str, environment: Mapping[str, str], timeout_s: float, program: str, *arguments: str
) -> Pending:
    """Start one of gpudoctor.system.children in the judged environment."""
    try:
        child = system.start(child_argv(program, *arguments), child_environment(environment), timeout_s)
    except CannotLook as error:
        return Pending(probe, timeout_s, None, error.reason)
    return Pending(probe, timeout_s, child)


def ending_of(pending: Pending, kind: type[L]) -> Ending[L]:
    """Wait for the child and decode what it said, up to the first line that is not a document."""
    if pending.child is None:
        return Ending((), pending.reason, ProbeReport(probe=pending.probe, status="failed", detail=pending.reason))
    result = pending.child.result()
    decoder = msgspec.json.Decoder(kind)
    lines: list[L] = []
    reason = None
    # What follows the last newline was cut off by the end of the child, or by the limit on its output.
    for line in result.stdout.split(b"\n")[:-1]:
        try:
            lines.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            reason = "the probe's answer cannot be read"
            break
    report = _report(pending, result, reason)
    return Ending(tuple(lines), report.detail, report)


def _report(pending: Pending, result: ChildResult, reason: str | None) -> ProbeReport:
    if result.timed_out:
        detail = f"no answer within {pending.timeout_s:g} s"
        return ProbeReport(probe=pending.probe, status="timeout", detail=detail)
    if result.status < 0:
        detail = f"crashed with {signal_name(-result.status)}"
        return ProbeReport(probe=pending.probe, status="crashed", detail=detail)
    if result.status > 0:
        last = result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        detail = f"ended with status {result.status}" + (f": {last[:300]}" if last else "")
        # Windows has no signals: an access violation is a status of 0xC0000005.
        crashed = result.status >= 0xC0000000
        return ProbeReport(probe=pending.probe, status="crashed" if crashed else "failed", detail=detail)
    return ProbeReport(probe=pending.probe, status="failed" if reason else "ok", detail=reason)


def signal_name(number: int) -> str:
    """Return a signal's name: 11 is `SIGSEGV`."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

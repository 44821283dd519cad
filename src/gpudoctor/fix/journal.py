"""The journal of a repair: the plan with all that undoing it needs, then one line before and one after each step.

It lies outside the environment, in the user's state folder, so that an undone environment is what it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import re
import time
from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from gpudoctor.fix.places import journal_home
from gpudoctor.fix.types import Plan
from gpudoctor.system.changes import CannotChange, FolderState, Nothing, PathState
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

PLAN_FILE = "plan.json"
LINES_FILE = "journal"
_RUN = re.compile(r"\d{8}T\d{6}Z-\d{1,9}(-\d+)?")
_LIMIT_BYTES = 256 << 20

Event = Literal["begin", "doing", "done", "applied", "verified", "undoing", "undone"]
RunState = Literal["prepared", "interrupted", "applied", "undo-interrupted", "undone"]


class Writer(Protocol):
    """What a journal and a repair need of the machine; see gpudoctor.system.changes.RealChanges."""

    def state(self, path: str) -> PathState:
        """Return what is at a path, links not followed."""

    def read(self, path: str) -> bytes:
        """Return a regular file's content."""

    def writable(self, folder: str) -> str | None:
        """Return why no file can be made in a folder; None when one can."""

    def write_file(
        self,
        path: str,
        content: bytes,
        *,
        mode: int,
        temporary: str,
        mtime_ns: int | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Make or replace a file, whole or not at all."""

    def make_link(self, path: str, text: str) -> None:
        """Make a symbolic link where nothing is."""

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Make a folder where nothing is."""

    def remove(self, path: str) -> None:
        """Remove a file or a link, if it is there."""

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder, if it is there."""

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        """Set the time of last modification."""

    def make_folders(self, path: str) -> None:
        """Make a folder for records, and those above it."""

    def append(self, path: str, line: bytes) -> None:
        """Append to a record; on the disk when this returns."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a journal.

    Attributes:
        event: What happened, or is about to.
        step: Which action, from 0.
        told: What could not be done, or why.
    """

    event: Event
    step: int | None = None
    told: tuple[str, ...] = ()


class Run(msgspec.Struct, frozen=True):
    """One repair on record.

    Attributes:
        id: Its name, which begins with the time (UTC).
        folder: Where its journal lies.
        plan: What was to be done.
        lines: What was done.
    """

    id: str
    folder: str
    plan: Plan
    lines: tuple[Line, ...]

    @property
    def state(self) -> RunState:
        """Return how it ended, or that it did not."""
        events = [line.event for line in self.lines]
        if "undone" in events:
            return "undone"
        if "undoing" in events:
            return "undo-interrupted"
        if "verified" in events:
            return "applied"
        return "interrupted" if "doing" in events else "prepared"

    @property
    def told(self) -> tuple[str, ...]:
        """Return what was said about its end."""
        return self.lines[-1].told if self.lines else ()


def journals_of(system: ReadSystem, environment: Mapping[str, str], prefix: str) -> str:
    """Return the folder of the journals of one environment.

    Raises:
        GpuDoctorError: There is no home folder to put it in.
    """
    real = system.realpath(prefix)
    key = hashlib.sha256(real.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return posixpath.join(journal_home(environment), "fix", key)


def read_runs(system: ReadSystem, folder: str) -> tuple[Run, ...]:
    """Return the runs on record in a folder, oldest first; one whose plan never reached the disk is left out.

    Raises:
        CannotLook: A journal is there and cannot be read: whether a run was killed is then not known.
    """
    try:
        names = system.listdir(folder)
    except NotThere:
        return ()
    except CannotLook as error:
        raise _unreadable(folder, error) from error
    runs = (_read_run(system, posixpath.join(folder, n), n) for n in sorted(names) if _RUN.fullmatch(n))
    return tuple(run for run in runs if run is not None)


def _read_run(system: ReadSystem, folder: str, name: str) -> Run | None:
    try:
        plan = msgspec.json.decode(_read(system, posixpath.join(folder, PLAN_FILE)), type=Plan)
    except (NotThere, msgspec.DecodeError):
        return None  # killed before the plan was on the disk: nothing had begun
    try:
        raw = _read(system, posixpath.join(folder, LINES_FILE))
    except NotThere:
        raw = b""
    return Run(name, folder, plan, tuple(_lines(raw)))


def _read(system: ReadSystem, path: str) -> bytes:
    try:
        return system.read_bytes(path, _LIMIT_BYTES)
    except CannotLook as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: CannotLook) -> CannotLook:
    return CannotLook(f"the journal of repairs {path} cannot be read: {error.reason}", error.errno_name)


def _lines(raw: bytes) -> list[Line]:
    """Return the whole lines; one that was cut off by a kill or a full disk says nothing."""
    lines: list[Line] = []
    for text in raw.split(b"\n")[:-1]:
        try:
            lines.append(msgspec.json.decode(text, type=Line))
        except msgspec.DecodeError:
            continue
    return lines


class Journal:
    """The journal of a run under way.

    Attributes:
        run_id: Name of the run.
        folder: Where it lies.
    """

    def __init__(self, changes: Writer, folder: str, run_id: str) -> None:
        self._changes = changes
        self._lines = posixpath.join(folder, LINES_FILE)
        self.folder = folder
        self.run_id = run_id

    def note(self, event: Event, step: int | None = None, told: tuple[str, ...] = ()) -> None:
        """Write one line; it is on the disk when this returns.

        Raises:
            CannotChange: It cannot be written.
        """
        # A line that a kill cut off has no end: the newline before it keeps it from spoiling this one.
        self._changes.append(self._lines, b"\n" + msgspec.json.encode(Line(event, step, told)) + b"\n")

    def replace_plan(self, plan: Plan) -> None:
        """Put a longer plan on record in place of the one under way; its first steps are the same.

        Raises:
            CannotChange: It cannot be written; the former one is still there.
        """
        _write_plan(self._changes, self.folder, plan)

    def try_note(self, event: Event, told: tuple[str, ...] = ()) -> None:
        """Write one line, or none where the journal's disk is full: undoing must not fail for that.

        Without the line the run counts as not undone, and undoing it again changes nothing.
        """
        with contextlib.suppress(CannotChange):
            self.note(event, told=told)


def forget_run(system: ReadSystem, changes: Writer, run: Run) -> None:
    """Remove the record of a run. The plan goes last: killed before that, the run is still known.

    Raises:
        CannotChange: Something cannot be removed.
    """
    plan = posixpath.join(run.folder, PLAN_FILE)
    _empty(system, changes, run.folder, but=plan)
    changes.remove(plan)
    changes.remove_folder(run.folder)


def _empty(system: ReadSystem, changes: Writer, folder: str, but: str = "") -> None:
    for name in system.listdir(folder):
        path = posixpath.join(folder, name)
        if path == but:
            continue
        if isinstance(changes.state(path), FolderState):
            _empty(system, changes, path)
            changes.remove_folder(path)
        else:
            changes.remove(path)


def open_journal(changes: Writer, run: Run) -> Journal:
    """Return the journal of a run on record, to be continued."""
    return Journal(changes, run.folder, run.id)


def begin_journal(changes: Writer, folder: str, plan: Plan) -> Journal:
    """Write a plan down and return its journal.

    Args:
        changes: The machine.
        folder: Of the environment's journals.
        plan: What is going to be done.

    Raises:
        CannotChange: It cannot be written; nothing has been done yet.
    """
    changes.make_folders(folder)
    run_id, home = _free_name(changes, folder)
    changes.make_folders(home)
    try:
        _write_plan(changes, home, plan)
        journal = Journal(changes, home, run_id)
        journal.note("begin")
    except CannotChange as error:
        raise CannotChange(f"the journal cannot be written, so nothing was begun: {error.reason}") from error
    return journal


def _write_plan(changes: Writer, home: str, plan: Plan) -> None:
    changes.write_file(
        posixpath.join(home, PLAN_FILE),
        msgspec.json.encode(plan),
        mode=0o600,
        temporary=posixpath.join(home, "plan.tmp"),
    )


def _free_name(changes: Writer, folder: str) -> tuple[str, str]:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 1
    while not isinstance(changes.state(posixpath.join(folder, f"{stamp}-{number}")), Nothing):
        number += 1
    return f"{stamp}-{number}", posixpath.join(folder, f"{stamp}-{number}")

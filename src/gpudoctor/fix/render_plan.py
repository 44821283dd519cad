"""Plans, outcomes and runs, as text and as documents."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gpudoctor.fix.journal import Run
from gpudoctor.fix.package_types import ChangePackages
from gpudoctor.fix.types import Action, MakeFolder, MakeLink, Plan, WriteFile
from gpudoctor.loader.preload_hook import HOOK_FILE, PTH_FILE
from gpudoctor.model.base import Frozen
from gpudoctor.report.canvas import Canvas

_LABEL_COLUMNS = 9
Status = Literal["pending", "nothing-to-do", "refused", "applied", "rolled-back", "undone"]


class ActionDocument(Frozen, frozen=True, kw_only=True):
    """One action of a plan.

    Attributes:
        action: Its kind.
        path: What it changes.
        purpose: One clause.
        preview: A unified diff, or a command.
    """

    action: str
    path: str
    purpose: str
    preview: str


class FixDocument(Frozen, frozen=True, kw_only=True):
    """What `fix --format json` prints.

    Attributes:
        schema_version: Version of this document's shape.
        status: What became of it.
        run: Name of the run, once there is one.
        reason: Why refused; where there is nothing to do, why not, unless every library is found.
        strategy: How it repairs.
        why: Why in this way.
        scope: Whom it reaches.
        risk: What may go wrong later.
        applicability: Whether it may be applied.
        consumers: Whom it serves.
        ends: Findings that it ends.
        actions: What it does.
        commands: What to type; the place for it on a comment line of its own before it.
        unmet: Who cannot be helped, and why.
        complaints: Why it was rolled back.
        left: What could not be restored, for somebody changed it since.
        follows: What a change of packages brings with it in the same run.
        followed: What that was, known only once the packages were there.
        next_steps: What whoever starts the process has to do, so that an applied repair takes effect.
        verified_by: `canary` when libraries were really loaded, else `files`.
    """

    schema_version: int = 1
    status: Status
    run: str | None = None
    reason: str | None = None
    strategy: str | None = None
    why: str | None = None
    scope: str | None = None
    risk: str | None = None
    applicability: str | None = None
    consumers: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    actions: tuple[ActionDocument, ...] = ()
    commands: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    follows: str | None = None
    followed: tuple[ActionDocument, ...] = ()
    next_steps: tuple[str, ...] = ()
    verified_by: Literal["canary", "files"] | None = None


class Commands(Frozen, frozen=True, kw_only=True):
    """What to type next, with every option that the plan at hand was made with.

    Attributes:
        apply: Carries the plan out.
        undo: Takes it back.
        packages: Installs what is missing too.
        check: Judges the same target.
    """

    apply: str = "gpudoctor fix --apply"
    undo: str = "gpudoctor fix --undo"
    packages: str = "gpudoctor fix --packages --apply"
    check: str = "gpudoctor check"


class RunDocument(Frozen, frozen=True, kw_only=True):
    """One run on record.

    Attributes:
        run: Its name.
        state: How it ended.
        strategy: How it repaired.
        consumers: Whom it served.
        paths: What it changed.
        told: What was said at its end.
        kept_bytes: Size of the former files that are kept for undoing it; a hard link counts in full.
    """

    run: str
    state: str
    strategy: str
    consumers: tuple[str, ...]
    paths: tuple[str, ...]
    told: tuple[str, ...] = ()
    kept_bytes: int = 0


class RunsDocument(Frozen, frozen=True, kw_only=True):
    """What `fix --list --format json` prints.

    Attributes:
        schema_version: Version of this document's shape.
        runs: Oldest first.
    """

    schema_version: int = 1
    runs: tuple[RunDocument, ...]


def preview(action: Action) -> str:
    """Return what an action does: a unified diff of a file, a command for the rest."""
    match action:
        case WriteFile(path=path, content=content, former=former):
            return "".join(_diff(path, former, content))
        case MakeLink(path=path, text=text):
            return f"ln -s {shlex.quote(text)} {shlex.quote(path)}\n"
        case MakeFolder(path=path):
            return f"mkdir {shlex.quote(path)}\n"
        case ChangePackages(steps=steps):
            commands = (" ".join(shlex.quote(word) for word in argv) for argv in action.commands())
            return "".join(f"{line}\n" for line in (*map(str, steps), *commands))


def _diff(path: str, former: bytes | None, content: bytes) -> Iterable[str]:
    old = [] if former is None else former.decode("utf-8", "backslashreplace").splitlines(keepends=True)
    new = content.decode("utf-8", "backslashreplace").splitlines(keepends=True)
    for line in difflib.unified_diff(old, new, "/dev/null" if former is None else path, path):
        yield line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def describe(plan: Plan, status: Status = "pending") -> FixDocument:
    """Return a plan as a document."""
    return FixDocument(
        status=status,
        strategy=plan.strategy,
        why=plan.why,
        scope=plan.scope,
        risk=plan.risk,
        applicability=plan.applicability,
        consumers=plan.consumers,
        ends=tuple(f"{rule} {cause} ({subject})" for rule, subject, cause in plan.targets),
        actions=described(plan.actions),
        commands=plan.commands,
        follows=next((_follows(a) for a in plan.actions if isinstance(a, ChangePackages)), None),
        unmet=plan.unmet,
    )


def described(actions: Iterable[Action]) -> tuple[ActionDocument, ...]:
    """Return actions as documents."""
    return tuple(map(_action, actions))


def _follows(action: ChangePackages) -> str:
    return (
        f"what makes the loader find the new libraries, where it does not look into their folders: the import hook "
        f"({PTH_FILE} and {HOOK_FILE} in {action.path}), else links beside the packages that open them; --undo takes "
        "it back with them"
    )


def _action(action: Action) -> ActionDocument:
    kind = {
        WriteFile: "write-file",
        MakeLink: "make-link",
        MakeFolder: "make-folder",
        ChangePackages: "change-packages",
    }[type(action)]
    return ActionDocument(action=kind, path=action.path, purpose=action.purpose, preview=preview(action))


def describe_runs(runs: tuple[Run, ...], kept_bytes: Mapping[str, int]) -> RunsDocument:
    """Return runs as a document.

    Args:
        runs: Oldest first.
        kept_bytes: What is kept for undoing, by run.
    """
    return RunsDocument(
        runs=tuple(
            RunDocument(
                run=r.id,
                state=r.state,
                strategy=r.plan.strategy,
                consumers=r.plan.consumers,
                paths=tuple(a.path for a in r.plan.actions),
                told=r.told,
                kept_bytes=kept_bytes.get(r.id, 0),
            )
            for r in runs
        )
    )


def render_fix(
    document: FixDocument,
    canvas: Canvas,
    *,
    commands: Commands | None = None,
    brief: bool = False,
    closing: bool = True,
) -> str:
    """Return a plan or its outcome as text.

    Args:
        document: What to say.
        canvas: An empty sheet.
        commands: What to type next; None for the default target.
        brief: Leave out the plan itself, and what it does not mend: that was shown before.
        closing: End with the verdict; a question follows otherwise.
    """
    if not brief:
        _plan_text(document, canvas)
        for text in document.unmet:
            canvas.row(("not", "yellow", _LABEL_COLUMNS), value=text)
    for action in document.followed:
        canvas.row(("then", "dim", _LABEL_COLUMNS), value=f"{action.path}: {action.purpose}")
    for text in (*document.complaints, *document.left):
        canvas.row(("!", "bold red", _LABEL_COLUMNS), value=text)
    if closing:
        canvas.line((_verdict(document, commands or Commands()), "bold"))
    for text in document.next_steps:
        canvas.row(("next", "bold", _LABEL_COLUMNS), value=text)
    return canvas.text()


def _plan_text(document: FixDocument, canvas: Canvas) -> None:
    rows = (
        ("repair", f"{document.strategy}, for {', '.join(document.consumers)}" if document.strategy else None),
        ("why", document.why),
        ("scope", document.scope),
        ("risk", document.risk),
    )
    for label, value in rows:
        if value:
            canvas.row((label, "dim", _LABEL_COLUMNS), value=value)
    for ends in document.ends:
        canvas.row(("ends", "dim", _LABEL_COLUMNS), value=ends)
    for action in document.actions:
        canvas.blank()
        canvas.line((action.path, "bold"), f": {action.purpose}")
        for line in action.preview.splitlines():
            canvas.verbatim(line, indent=2, style=_style(line))
    if document.follows:
        canvas.blank()
        canvas.row(("then", "dim", _LABEL_COLUMNS), value=document.follows)
    for command in document.commands:
        place, _, rest = command.partition("\n")
        canvas.verbatim(place, indent=2)
        if rest:
            canvas.verbatim(rest, indent=2)
    if document.strategy:
        canvas.blank()


def _style(line: str) -> str:
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def _verdict(document: FixDocument, commands: Commands) -> str:
    match document.status:
        case "pending" if document.applicability == "display-only":
            return "nothing is done by gpudoctor itself: this is for you to type"
        case "pending":
            return f"nothing was changed; to carry this out: {commands.apply}"
        case "nothing-to-do":
            return f"nothing to do: {document.reason or 'every library that can be found here is found'}"
        case "refused":
            return f"no repair: {document.reason}"
        case "applied":
            how = (
                "the libraries were loaded to prove it" if document.verified_by == "canary" else "read again from disk"
            )
            return f"applied as run {document.run} and verified ({how}); to take it back: {commands.undo}"
        case "rolled-back":
            return f"run {document.run} was rolled back: it did not do what it was made for"
        case "undone":
            tail = ", but for what is named above" if document.left else ""
            return f"run {document.run} was undone: everything is as it was before{tail}"


def render_runs(document: RunsDocument, canvas: Canvas, target: str) -> str:
    """Return the runs on record as text.

    Args:
        document: The runs.
        canvas: An empty sheet.
        target: The environment or program that they are of.
    """
    for run in document.runs:
        canvas.line((run.run, "bold"), f"  {run.state}  {run.strategy}, for {', '.join(run.consumers)}")
        for path in run.paths:
            canvas.verbatim(path, indent=2)
        if run.kept_bytes:
            canvas.line(f"keeps {run.kept_bytes / 1e6:.0f} MB of former files", indent=4)
        for text in run.told:
            canvas.line(text, indent=4)
    if not document.runs:
        canvas.line(f"no run is on record for {target}")
    return canvas.text()


def with_outcome(document: FixDocument, **values: object) -> FixDocument:
    """Return a document with what became of it."""
    return msgspec.structs.replace(document, **values)

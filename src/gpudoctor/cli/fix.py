"""`gpudoctor fix`: plan a repair, carry it out, take it back."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gpudoctor.cli.common import (
    BinaryOption,
    Color,
    ColorOption,
    EnvFileOption,
    EnvOption,
    ForOption,
    MatrixOption,
    OutputOption,
    PlainFormat,
    PlainFormatOption,
    PythonOption,
    emit,
    rendering,
    say,
)

if TYPE_CHECKING:
    from gpudoctor.fix.render_plan import Commands, FixDocument, RunsDocument
    from gpudoctor.fix.repair import Workshop
    from gpudoctor.fix.types import Plan
    from gpudoctor.matrix.index import Matrix
    from gpudoctor.probes.take import SnapshotRequest

REPAIR = "Repair"
STATUS_PENDING = 1


class Strategy(str, Enum):
    """Ways to repair."""

    HOOK = "hook"
    LINKS = "links"
    ACTIVATE = "activate"
    CONDA = "conda"
    ENV_FILE = "env-file"
    WRAPPER = "wrapper"
    SHOW = "show"


def fix(
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    matrix_file: MatrixOption = None,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply", help="Carry the plan out, verify it, roll it back if it fails.", rich_help_panel=REPAIR
        ),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take a run back: the one named, else the latest.", rich_help_panel=REPAIR)
    ] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Remove the record of an undone run, and the files kept for it: the one named, else all undone ones. "
            "An applied one too, when it is named and with --yes.",
            rich_help_panel=REPAIR,
        ),
    ] = False,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="With --undo and --forget: which run.")] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="Show the runs on record.", rich_help_panel=REPAIR)] = False,
    strategy: Annotated[
        Strategy | None,
        typer.Option("--strategy", help="How to repair; by default the findings decide.", rich_help_panel=REPAIR),
    ] = None,
    packages: Annotated[
        bool,
        typer.Option(
            "--packages",
            help="Install what is missing too, at exact versions that a dry run of uv or pip chose.",
            rich_help_panel=REPAIR,
        ),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="LOCK|PYTHON",
            help="With --packages: give GPU packages the versions of a lock file or of another environment.",
            rich_help_panel=REPAIR,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.", rich_help_panel=REPAIR)] = False,
    report_format: PlainFormatOption = PlainFormat.TEXT,
    output: OutputOption = None,
    color: ColorOption = Color.AUTO,
) -> int:
    """Show the repair that makes every consumer find its GPU libraries; with --apply, carry it out.

    Without --apply nothing is changed and nothing of the environment is run: the plan is shown, with what it would
    write. A plan is judged for all consumers first; one that would take a library from any of them is refused.

    --apply writes each step to a journal outside the environment, then loads the libraries the way the service will,
    and takes everything back if a target finding stayed or a new error came. --undo restores what was there, byte for
    byte: the latest run, or the RUN that is named as --list shows it.

    --packages asks uv, else the environment's pip, for a dry run, which starts the environment's interpreter and may
    use the network. What the new libraries need to be found follows in the same run.

    --binary repairs a native program, or a folder of libraries: links beside it, a wrapper, or a file of variables. It
    is never started: the repair is verified by reading the files again. With --python too, the libraries of that
    environment's packages may serve it.

    Exit status: 0 nothing to do, applied or undone; 1 a plan is pending, refused or rolled back.

    Examples:
      gpudoctor fix --python /srv/app/.venv

      gpudoctor fix --python /srv/app/.venv --apply --yes

      gpudoctor fix --python /srv/app/.venv --packages --to gpudoctor.lock --apply

      gpudoctor fix --binary /opt/asr/bin/daemon --apply

      gpudoctor fix --python /srv/app/.venv --undo
    """
    from gpudoctor.fix.native import native_path
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.probes.take import SnapshotRequest
    from gpudoctor.system.real import RealSystem

    if sum((apply, undo, list_runs, forget)) > 1:
        raise UsageError("--apply, --undo, --list and --forget exclude one another")
    if to is not None and not packages:
        raise UsageError("--to changes packages: add --packages")
    if packages and strategy is not None:
        raise UsageError("--packages and --strategy exclude one another: change the packages first")
    if binary is not None and (packages or consumers):
        raise UsageError("--binary is served as a whole, and has no packages; leave out --for and --packages")
    if run is not None and not undo and not forget:
        raise UsageError(f"{run!r}: only --undo and --forget take the name of a run")
    request = SnapshotRequest(
        python=python,
        own_python=sys.executable,
        consumers=tuple(consumers or ()),
        binary=native_path(RealSystem(), binary) if binary is not None else None,
        assignments=tuple(env or ()),
        env_file=env_file,
        # No rule on the driver takes part in a repair: it need not be asked.
    )
    wish = _Wish(strategy.value if strategy else None, packages, to)
    show = _Printer(report_format, output, color, _commands(request, wish, matrix_file))
    if list_runs:
        return _list(request, show)
    if forget:
        return _forget(request, run, yes)
    if undo:
        return _undo(request, run, show)
    return _fix(load_matrix(matrix_file), request, wish, apply, yes, show)


class _Wish(NamedTuple):
    """What sort of repair is wanted."""

    strategy: str | None
    packages: bool
    to: str | None


def _commands(request: SnapshotRequest, wish: _Wish, matrix_file: str | None) -> Commands:
    """Return what to type next, with the options of now: without them it would be another target, or another plan."""
    import shlex

    from gpudoctor.fix.render_plan import Commands

    target = [("--binary", request.binary), ("--python", request.python)]
    judged = [
        *(("--for", name) for name in request.consumers),
        *(("--env", text) for text in request.assignments),
        ("--env-file", request.env_file),
        ("--matrix", matrix_file),
    ]
    more = [*judged, ("--strategy", wish.strategy), ("--to", wish.to)]
    named = [word for option, value in target if value for word in (option, value)]
    told = [word for option, value in more if value for word in (option, value)]
    packages = ["--packages"] if wish.packages else []
    return Commands(
        apply=shlex.join(["gpudoctor", "fix", *named, *told, *packages, "--apply"]),
        undo=shlex.join(["gpudoctor", "fix", *named, "--undo"]),
        packages=shlex.join(["gpudoctor", "fix", *named, "--packages", "--apply"]),
        check=shlex.join(
            ["gpudoctor", "check", *named, *(w for option, value in judged if value for w in (option, value))]
        ),
    )


class _Printer:
    """Prints documents in the format asked for."""

    def __init__(self, report_format: PlainFormat, output: str | None, color: Color, commands: Commands) -> None:
        self.json = report_format is PlainFormat.JSON
        self.commands = commands
        self.output = output
        self._color = color

    @property
    def streams(self) -> bool:
        """Tell whether the plan can be shown before the deed: a document or a file is written once, at the end."""
        return not self.json and self.output is None

    def fix(self, document: FixDocument, *, brief: bool = False, closing: bool = True) -> None:
        from gpudoctor.fix.render_plan import render_fix
        from gpudoctor.report.canvas import Canvas
        from gpudoctor.report.json import render_document

        if self.json:
            emit(render_document(document), self.output, encoding="utf-8")
            return
        colored, width, ascii_only = rendering(self._color, self.output)
        canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
        emit(render_fix(document, canvas, commands=self.commands, brief=brief, closing=closing), self.output)

    def runs(self, document: RunsDocument, target: str) -> None:
        from gpudoctor.fix.render_plan import render_runs
        from gpudoctor.report.canvas import Canvas
        from gpudoctor.report.json import render_document

        if self.json:
            emit(render_document(document), self.output, encoding="utf-8")
            return
        colored, width, ascii_only = rendering(self._color, self.output)
        canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
        emit(render_runs(document, canvas, target), self.output)


def _workshop(request: SnapshotRequest) -> Workshop:
    from gpudoctor.fix.native import root_of
    from gpudoctor.fix.places import journal_home
    from gpudoctor.fix.repair import Workshop
    from gpudoctor.probes.interpreter import find_target
    from gpudoctor.probes.layout import find_layout
    from gpudoctor.system.changes import RealChanges
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    journals = journal_home(system.environ())
    if request.binary is not None:
        return Workshop(system, RealChanges((root_of(system, request.binary), journals)), request.binary)
    prefix = find_layout(system, find_target(system, request.python, request.own_python)).prefix
    return Workshop(system, RealChanges((prefix, journals)), prefix)


def _list(request: SnapshotRequest, show: _Printer) -> int:
    from gpudoctor.fix.render_plan import describe_runs

    workshop = _workshop(request)
    show.runs(describe_runs(workshop.runs(), workshop.kept_bytes()), workshop.prefix)
    return 0


def _forget(request: SnapshotRequest, run_id: str | None, yes: bool) -> int:
    workshop = _workshop(request)
    with workshop.lock():
        runs = workshop.forget(run_id, for_good=yes and run_id is not None)
    say(f"forgot {', '.join(r.id for r in runs)}" if runs else "there is no undone run to forget")
    return 0


def _undo(request: SnapshotRequest, run_id: str | None, show: _Printer) -> int:
    from gpudoctor.fix.render_plan import FixDocument

    workshop = _workshop(request)
    with workshop.lock():
        run, left = workshop.undo(run_id)
    show.fix(FixDocument(status="undone", run=run.id, strategy=run.plan.strategy, left=left), brief=True)
    return 1 if left else 0


def _fix(matrix: Matrix, request: SnapshotRequest, wish: _Wish, apply: bool, yes: bool, show: _Printer) -> int:
    from gpudoctor.fix.plan import NothingToDo
    from gpudoctor.fix.refusals import Refusal
    from gpudoctor.fix.render_plan import FixDocument, describe
    from gpudoctor.fix.types import Plan

    workshop = _workshop(request)
    _settle(workshop, apply, show.commands)
    plan = _planned(matrix, request, wish)
    if isinstance(plan, NothingToDo):
        show.fix(FixDocument(status="nothing-to-do", reason=plan.reason, unmet=plan.unmet))
        return 0
    if isinstance(plan, Refusal):
        show.fix(FixDocument(status="refused", reason=plan.reason + _installable(plan.kind, request, wish, show)))
        return STATUS_PENDING
    assert isinstance(plan, Plan)  # noqa: S101 - the two other answers were handled above
    if not apply or plan.applicability == "display-only":
        show.fix(describe(plan))
        return STATUS_PENDING
    return _apply(matrix, request, workshop, plan, yes, show)


def _installable(kind: str, request: SnapshotRequest, wish: _Wish, show: _Printer) -> str:
    """Return the end of a refusal that installing packages would lift."""
    if kind != "not-installed" or wish.packages or request.binary is not None:
        return ""
    return f"; to install it too: {show.commands.packages}"


def _settle(workshop: Workshop, apply: bool, commands: Commands) -> None:
    """Say what a killed run left, and take it back where something is going to be changed anyway."""
    from gpudoctor.fix.state import told_of

    interrupted = [r for r in workshop.runs() if r.state in ("interrupted", "undo-interrupted")]
    if not interrupted:
        return
    if not apply:
        for run in interrupted:
            say(told_of(run, commands.undo, commands.apply))
        return
    with workshop.lock():
        for text in workshop.settle():
            say(text)


def _planned(matrix: Matrix, request: SnapshotRequest, wish: _Wish) -> object:
    import msgspec

    from gpudoctor.fix.plan import plan_fix
    from gpudoctor.fix.repair import see
    from gpudoctor.system.changes import RealChanges
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    seen = msgspec.structs.replace(see(system, matrix, request), strategy=wish.strategy)
    if wish.packages:
        from gpudoctor.fix.package_plan import plan_packages, wanted_of
        from gpudoctor.fix.plan import NothingToDo

        wanted = wanted_of(system, wish.to) if wish.to is not None else None
        plan = plan_packages(system, RealChanges(), matrix, seen, wanted, say)
        if not isinstance(plan, NothingToDo):
            return plan
    return plan_fix(system, RealChanges(), matrix, seen)


def _apply(matrix: Matrix, request: SnapshotRequest, workshop: Workshop, plan: Plan, yes: bool, show: _Printer) -> int:
    from gpudoctor.fix.render_plan import describe, described, with_outcome
    from gpudoctor.fix.started import next_steps

    document = describe(plan)
    if not yes:
        _ask(document, show)
    elif show.streams:
        show.fix(document, closing=False)
    with workshop.lock():
        outcome = workshop.carry_out(matrix, request, plan)
    document = with_outcome(
        document,
        status=outcome.status,
        run=outcome.run,
        complaints=outcome.complaints,
        left=outcome.left,
        verified_by="canary" if outcome.tried else "files",
        followed=described(outcome.followed) if outcome.status == "applied" else (),
        next_steps=next_steps(plan, show.commands.check) if outcome.status == "applied" else (),
    )
    show.fix(document, brief=not yes or show.streams)
    return 0 if outcome.status == "applied" else STATUS_PENDING


def _ask(document: FixDocument, show: _Printer) -> None:
    """Show the plan on standard error and wait for a yes.

    Raises:
        UsageError: There is nobody to ask.
        Abort: The answer is no.
    """
    from gpudoctor.fix.render_plan import render_fix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.report.canvas import Canvas

    if not sys.stdin.isatty():
        raise UsageError("standard input is no terminal, so nobody can be asked: add --yes to apply the plan")
    canvas = Canvas(colored=False, width=100, ascii_only=False)
    sys.stderr.write(render_fix(document, canvas, commands=show.commands, closing=False))
    if not typer.confirm("Apply it?", err=True):
        raise typer.Abort

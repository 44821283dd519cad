"""What every strategy is given, and what it gives back."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

import msgspec

from gpudoctor.fix.journal import Writer
from gpudoctor.fix.native import Native
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.settings import Settings
from gpudoctor.fix.types import Action, FolderBefore, Litter, StrategyName, WriteFile
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Interpreter
from gpudoctor.model.finding import Applicability
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.system.changes import CannotChange, FileState, FolderState, Nothing
from gpudoctor.system.protocol import ReadSystem


class Situation(msgspec.Struct, frozen=True):
    """All that a strategy needs to know.

    Attributes:
        system: The machine, to look at.
        changes: The machine, to be changed; only looked at while planning.
        matrix: What consumers open.
        target: The process as the service will start it.
        interpreter: The target's interpreter; None for a native program.
        native: The native program or folder; None for a Python environment.
        second_names: Folder by a second name that the system knows it by, where LD_LIBRARY_PATH cannot name it.
        snapshot: The facts.
        settings: The directories that would serve every consumer.
        solved: What the loader answers under these directories.
        needed: Of these answers the ones that the loader does not give without them.
    """

    system: ReadSystem
    changes: Writer
    matrix: Matrix
    target: Target
    interpreter: Interpreter | None
    snapshot: Snapshot
    settings: Settings
    solved: LoaderAnswer
    needed: tuple[Resolution, ...]
    native: Native | None = None
    second_names: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def consumers(self) -> tuple[str, ...]:
        """Return whom a repair serves."""
        return tuple(dict.fromkeys(r.consumer for r in self.needed))


class Proposal(msgspec.Struct, frozen=True):
    """What a strategy would do, and the machine as it would be then.

    Attributes:
        strategy: Its name.
        scope: Whom it reaches.
        risk: What may go wrong later.
        actions: What to do.
        system: The machine as it would be.
        target: The process as it would be.
        others: Further processes that must be as good: the same libraries, in another order.
        commands: What to type, for what is only shown.
        litter: What a running interpreter will make out of our files.
        applicability: Whether it may be applied.
    """

    strategy: StrategyName
    scope: str
    risk: str
    actions: tuple[Action, ...]
    system: ReadSystem
    target: Target
    others: tuple[Target, ...] = ()
    commands: tuple[str, ...] = ()
    litter: tuple[Litter, ...] = ()
    applicability: Applicability = "safe"


def refused(strategy: str, reason: str) -> Refusal:
    """Return why a strategy has no proposal here."""
    return Refusal(kind="no-place", reason=f"{strategy}: {reason}")


def outside(situation: Situation, path: str) -> str | None:
    """Return why a path is not the environment's own, as a clause; None when it is.

    Links in the folders above it count as where they lead.
    """
    root = situation.system.realpath(situation.target.prefix)
    folder = situation.system.realpath(posixpath.dirname(path))
    if folder == root or folder.startswith(root.rstrip("/") + "/"):
        return None
    whole = "the program's folder" if situation.native else "the environment"
    return f"{path} leads to {folder}, outside {whole} {root}"


def write_file(
    situation: Situation, path: str, content: bytes, purpose: str, *, mode: int = 0o644
) -> WriteFile | Refusal:
    """Return the action that gives a file its new content, or why that cannot be."""
    try:
        found = situation.changes.state(path)
        former = situation.changes.read(path) if isinstance(found, FileState) else None
    except CannotChange as error:
        return refused("file", error.reason)
    match found:
        case Nothing():
            return WriteFile(path, content, mode, found, None, purpose)
        case FileState(mode=present):
            return WriteFile(path, content, present, found, former, purpose)
        case _:
            return refused("file", f"{path} is there and is no regular file")


def folder_states(situation: Situation, paths: tuple[str, ...]) -> tuple[FolderBefore, ...]:
    """Return folders as they are now, deepest first: a change in one changes the time of no other."""
    found = ((p, situation.changes.state(p)) for p in sorted(set(paths), key=len, reverse=True))
    return tuple(FolderBefore(p, s) for p, s in found if isinstance(s, (Nothing, FolderState)))

"""What a repair is made of: typed actions, each with what must be there before, and all that undoing it needs."""

from __future__ import annotations

from typing import Literal, Union

import msgspec

from gpudoctor.fix.package_types import ChangePackages
from gpudoctor.model.finding import Applicability
from gpudoctor.system.changes import FileState, FolderState, LinkState, Nothing, PathState, content_state

PLAN_SCHEMA_VERSION = 1

StrategyName = Literal["hook", "links", "activate", "conda", "env-file", "wrapper", "packages", "show"]
FindingKey = tuple[str, str, str]


class WriteFile(msgspec.Struct, frozen=True, tag="write-file", tag_field="action"):
    """Make a file, or give it another content.

    Attributes:
        path: The file.
        content: All of the new content.
        mode: Permission bits.
        before: What must be there.
        former: The content that is replaced; None for a new file.
        purpose: One clause.
    """

    path: str
    content: bytes
    mode: int
    before: Nothing | FileState
    former: bytes | None
    purpose: str


class MakeLink(msgspec.Struct, frozen=True, tag="make-link", tag_field="action"):
    """Make a symbolic link where nothing is.

    Attributes:
        path: The link.
        text: What it holds.
        purpose: One clause.
    """

    path: str
    text: str
    purpose: str


class MakeFolder(msgspec.Struct, frozen=True, tag="make-folder", tag_field="action"):
    """Make a folder where nothing is.

    Attributes:
        path: The folder.
        mode: Permission bits.
        purpose: One clause.
    """

    path: str
    mode: int
    purpose: str


Action = Union[WriteFile, MakeLink, MakeFolder, ChangePackages]  # noqa: UP007 - msgspec reads it at run time


class FolderBefore(msgspec.Struct, frozen=True):
    """A folder whose entries a plan changes, as it was before.

    Attributes:
        path: The folder.
        state: Nothing, where it is made on the way.
    """

    path: str
    state: Nothing | FolderState


class Litter(msgspec.Struct, frozen=True):
    """Files that a running interpreter makes out of ours, and that are ours to remove.

    Attributes:
        folder: Where.
        prefix: How their names begin.
        suffix: How their names end.
    """

    folder: str
    prefix: str
    suffix: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A repair: what would be done, why in this way, and to what state of the machine it applies.

    Attributes:
        schema_version: Version of this document's shape.
        prefix: Root of the environment; for a native program or folder its own path.
        python: What starts the process: the interpreter, or the native program.
        snapshot_digest: Digest of the facts it was made for.
        strategy: How it repairs.
        why: Why in this way, one sentence.
        scope: Whom it reaches, and whom not.
        risk: What may go wrong later.
        applicability: `display-only` plans are shown and never applied.
        consumers: Whom it serves.
        targets: Findings that it ends: rule, subject, cause.
        actions: What to do, in order.
        commands: What to type, for a plan that is only shown.
        folders: Folders that change, as they are now.
        litter: What a running interpreter will make out of our files.
        environment: Variables that the served processes will have: under these it is verified.
        unmet: Who cannot be helped, and why.
    """

    schema_version: int = PLAN_SCHEMA_VERSION
    prefix: str
    python: str
    snapshot_digest: str
    strategy: StrategyName
    why: str
    scope: str
    risk: str
    applicability: Applicability
    consumers: tuple[str, ...]
    targets: tuple[FindingKey, ...]
    actions: tuple[Action, ...]
    commands: tuple[str, ...] = ()
    folders: tuple[FolderBefore, ...] = ()
    litter: tuple[Litter, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    unmet: tuple[str, ...] = ()


def state_before(action: Action) -> PathState:
    """Return what must be at an action's path before it."""
    return action.before if isinstance(action, WriteFile) else Nothing()


def state_after(action: Action) -> PathState:
    """Return what is at an action's path after it, as far as same_content looks at it."""
    match action:
        case WriteFile(content=content):
            return content_state(content)
        case MakeLink(text=text):
            return LinkState(text)
        case MakeFolder() | ChangePackages():
            return FolderState("", 0)


def temporary_path(action: Action, run: str, number: int) -> str:
    """Return the path of an action's temporary file, known beforehand so that it can be removed after a kill.

    Empty for an action that needs none.
    """
    if not isinstance(action, WriteFile):
        return ""
    folder = action.path.rpartition("/")[0]
    return f"{folder}/.gpudoctor-{run}-{number}.tmp"

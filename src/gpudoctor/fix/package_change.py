"""Changing packages so that it can be taken back: fetch first, keep what will be replaced, then install.

The new files are unpacked into the journal's folder before anything of the environment is touched: a version that does
not exist, a network that is away and a full disk end there. What lies there also says which paths the installer is
going to make, so that a run that was killed in the middle can be taken back without asking the installer's records.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gpudoctor.fix.journal import Writer
from gpudoctor.fix.package_types import ChangePackages, Installer, PackageStep, fetch_command, install_command
from gpudoctor.model.environment import Distribution
from gpudoctor.model.fact import value_of
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.record import read_record
from gpudoctor.system import keeping
from gpudoctor.system.changes import CannotChange
from gpudoctor.system.installer import InstallerResult, run_installer
from gpudoctor.system.keeping import Kept, KeptFolder
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_LIMIT_BYTES = 64 << 20
_BIN = ("bin", "Scripts")


class KeptPiece(msgspec.Struct, frozen=True):
    """A former file.

    Attributes:
        owner: Distribution on whose behalf it was kept.
        file: The file.
        new_size_bytes: Size of the file that takes its place; None when none does.
    """

    owner: str
    file: Kept
    new_size_bytes: int | None = None


class MadePiece(msgspec.Struct, frozen=True):
    """A file that the installer makes where nothing was.

    Attributes:
        owner: Its distribution.
        path: Where.
        size_bytes: Its size; None for one that is written anew for each environment.
    """

    owner: str
    path: str
    size_bytes: int | None


class PackageRecord(msgspec.Struct, frozen=True):
    """All that taking a change of packages back needs.

    Attributes:
        kept: Former files.
        made: Files that are new.
        made_folders: Folders that are new.
        folders: Folders that were there.
    """

    kept: tuple[KeptPiece, ...]
    made: tuple[MadePiece, ...]
    made_folders: tuple[str, ...]
    folders: tuple[KeptFolder, ...]


def explain_failure(result: InstallerResult) -> str:
    """Return in one clause why an installer failed."""
    if result.timed_out:
        return "it did not end within the time limit"
    lines = [line.strip() for line in (result.err + "\n" + result.out).splitlines() if line.strip()]
    for mark in ("error:", "ERROR:"):
        found = [number for number, line in enumerate(lines) if line.startswith(mark)]
        if found:
            first = lines[found[-1] if mark == "ERROR:" else found[0]].removeprefix(mark).strip()
            causes = [line for line in lines[found[0] + 1 :] if line.startswith(("cause:", "Caused by:"))]
            last = causes[-1].partition(" ")[2].strip() if causes and mark != "ERROR:" else ""
            text = f"{first}: {last}" if last else first
            return text if len(text) <= 500 else text[:500] + "…"
    return lines[-1][:500] if lines else f"it ended with status {result.status}"


def apply_packages(
    system: ReadSystem, changes: Writer, journal_folder: str, number: int, action: ChangePackages
) -> None:
    """Carry a change of packages out.

    Args:
        system: The machine.
        changes: Writes the record.
        journal_folder: Of the run.
        number: Of the step.
        action: The change.

    Raises:
        CannotChange: It failed; undo_packages takes back what was done.
    """
    work = _work_folder(journal_folder, number)
    changes.make_folders(posixpath.join(work, "kept"))
    environment = system.environ()
    new = _staged(action, work, environment)
    record = _kept(system, action, posixpath.join(work, "kept"), new)
    changes.write_file(
        _record_file(journal_folder, number),
        msgspec.json.encode(record),
        mode=0o600,
        temporary=_record_file(journal_folder, number) + ".tmp",
    )
    for argv in action.commands():
        if "--no-index" not in argv and action.installer.kind == "pip" and "install" in argv:
            argv = (*argv, "--no-index", "--find-links", posixpath.join(work, "wheels"))
        _run(argv, environment, "the packages could not be changed")
    for name in ("stage", "wheels"):
        keeping.remove_tree(posixpath.join(work, name))
    _check(system, action)


def _work_folder(journal_folder: str, number: int) -> str:
    return posixpath.join(journal_folder, f"packages-{number}")


def _record_file(journal_folder: str, number: int) -> str:
    return posixpath.join(journal_folder, f"packages-{number}.json")


def _run(argv: tuple[str, ...], environment: Mapping[str, str], what: str, *, echo: bool = True) -> None:
    result = run_installer(argv, environment, echo=echo)
    if result.status != 0 or result.timed_out:
        raise CannotChange(f"{what}: {posixpath.basename(argv[0])}: {explain_failure(result)}")


def _check(system: ReadSystem, action: ChangePackages) -> None:
    now = installed_versions(system, action.path)
    for step in action.steps:
        if now.get(step.name) != step.after:
            raise CannotChange(
                f"{step.name} is {now.get(step.name) or 'not installed'} after the installer said that all went well"
            )


def installed_versions(system: ReadSystem, site_dir: str) -> dict[str, str]:
    """Return the versions of what is installed in a folder, by canonical name."""
    found: dict[str, str] = {}
    for distribution in probe_distributions(system, (site_dir,)):
        found.setdefault(distribution.name, value_of(distribution.version) or "")
    return found


# --- what will be made -----------------------------------------------------------------------------------------------


def _staged(action: ChangePackages, work: str, environment: Mapping[str, str]) -> tuple[MadePiece, ...]:
    """Fetch and unpack what will be installed; return the files that it will make, wherever something is there now."""
    if not action.pins:
        return ()
    stage = posixpath.join(work, "stage")
    failed = "the packages could not be fetched, and nothing of the environment was touched"
    for argv in _fetch_commands(action.installer, action, work, stage):
        # Pip unpacks beforehand what it has fetched: to be told twice that it is installed would be told wrongly once.
        _run(argv, environment, failed, echo="--no-index" not in argv)
    found: list[MadePiece] = []
    for relative in keeping.files_below(stage):
        head, _, rest = relative.partition("/")
        if relative == ".lock":
            continue
        if head in _BIN and rest:
            # Their first line names the interpreter, whose path differs here.
            found.append(MadePiece("", posixpath.join(action.prefix, "bin", rest), None))
            continue
        # Written for each environment: its path is in the one, the installer's notes are in the other.
        anew = relative.endswith(".pyc") or head.endswith(".dist-info")
        size = None if anew else keeping.size_of(posixpath.join(stage, relative))
        found.append(MadePiece("", posixpath.join(action.path, relative), size))
    return tuple(found)


def _fetch_commands(installer: Installer, action: ChangePackages, work: str, stage: str) -> Iterator[tuple[str, ...]]:
    if installer.kind == "uv":
        fresh = ("--no-cache",) if action.distrust_cache else ()
        yield install_command(installer, action.python, "--no-deps", *fresh, "--target", stage, *action.pins)
        return
    wheels = posixpath.join(work, "wheels")
    yield fetch_command(installer, wheels, action.pins)
    local = ("--no-deps", "--no-index", "--find-links", wheels, "--target", stage)
    yield install_command(installer, action.python, *local, *action.pins)


# --- what is kept ----------------------------------------------------------------------------------------------------


def _kept(system: ReadSystem, action: ChangePackages, folder: str, new: tuple[MadePiece, ...]) -> PackageRecord:
    """Keep everything that will be replaced or removed, and note everything that will be new."""
    sizes = {piece.path: piece.size_bytes for piece in new}
    former = {path: step.name for step in action.steps for path in _files_of(system, action, step)}
    lock = posixpath.join(action.prefix, ".lock")  # uv's own, which it makes and leaves
    pieces: list[KeptPiece] = []
    made: list[MadePiece] = []
    ours = dict.fromkeys((*former, *sizes))
    if not keeping.exists(lock):
        made.append(MadePiece("", lock, None))
    for number, path in enumerate(ours):
        file = keeping.keep(path, posixpath.join(folder, str(number)))
        if file is not None:
            pieces.append(KeptPiece(former.get(path, ""), file, sizes.get(path)))
        elif path in sizes:
            made.append(MadePiece("", path, sizes.get(path)))
    there, absent = _folders(action.prefix, map(posixpath.dirname, ours))
    return PackageRecord(tuple(pieces), tuple(made), absent, there)


def _files_of(system: ReadSystem, action: ChangePackages, step: PackageStep) -> Iterable[str]:
    """Return every path that removing an installed distribution may take away."""
    found: dict[str, None] = {}
    for distribution in _installed(system, action.path, step.name):
        folders: dict[str, None] = {}
        recorded = read_record(system, distribution)
        if recorded is None:
            raise CannotChange(
                f"{distribution.metadata_path} holds no list of files that can be read, so {step.name} could not be "
                "brought back; nothing of the environment was touched"
            )
        for relative in recorded:
            path = posixpath.normpath(posixpath.join(action.path, relative))
            if not path.startswith(action.prefix.rstrip("/") + "/"):
                continue  # no business of an environment
            found[path] = None
            folders[posixpath.dirname(path)] = None
        info = distribution.metadata_path
        found.update(dict.fromkeys(posixpath.join(info, name) for name in keeping.files_below(info)))
        for folder in folders:  # an uninstaller takes what was compiled out of its modules too
            cache = posixpath.join(folder, "__pycache__")
            found.update(dict.fromkeys(posixpath.join(cache, name) for name in keeping.files_below(cache)))
    return found


def _installed(system: ReadSystem, site_dir: str, name: str) -> tuple[Distribution, ...]:
    return tuple(d for d in probe_distributions(system, (site_dir,)) if d.name == name)


def _folders(prefix: str, folders: Iterable[str]) -> tuple[tuple[KeptFolder, ...], tuple[str, ...]]:
    """Return, of these folders and those above them in the environment, which are there, and which are not."""
    every: dict[str, None] = {}
    for folder in folders:
        while folder.startswith(prefix.rstrip("/") + "/") and folder not in every:
            every[folder] = None
            folder = posixpath.dirname(folder)
    every[prefix] = None
    states = {path: keeping.folder_state(path) for path in every}
    there = tuple(state for state in states.values() if state is not None)
    return there, tuple(path for path, state in states.items() if state is None)


# --- taking it back --------------------------------------------------------------------------------------------------


def undo_packages(
    system: ReadSystem, changes: Writer, journal_folder: str, number: int, action: ChangePackages
) -> tuple[str, ...]:
    """Take a change of packages back, finished or not, without an installer and without a network.

    Returns:
        What was left alone, because somebody changed it since.

    Raises:
        CannotChange: A step failed; undoing again goes on from there.
    """
    record = _read(system, _record_file(journal_folder, number))
    left: list[str] = []
    if record is not None:
        others = tuple(_changed_since(system, action))
        if others:
            return others
        left += _remove_made(changes, record)
        left += _give_back(record, number)
        for folder in sorted(record.folders, key=lambda f: -len(f.path)):
            keeping.restore_time(folder)
        if not left:
            changes.remove(_record_file(journal_folder, number))
    if not left:
        keeping.remove_tree(_work_folder(journal_folder, number))
    return tuple(left)


def _read(system: ReadSystem, path: str) -> PackageRecord | None:
    try:
        return msgspec.json.decode(system.read_bytes(path, _LIMIT_BYTES), type=PackageRecord)
    except NotThere:
        return None  # killed before anything was touched, or taken back already
    except (CannotLook, msgspec.DecodeError) as error:
        raise CannotChange(f"{path}: the record of what was replaced cannot be read: {error}") from error


def _changed_since(system: ReadSystem, action: ChangePackages) -> Iterator[str]:
    """Yield which distribution is of a third version; one that is half removed says none, and is ours."""
    steps = {step.name: step for step in action.steps}
    for distribution in probe_distributions(system, (action.path,)):
        step, version = steps.get(distribution.name), value_of(distribution.version)
        if step is not None and version not in (None, step.before, step.after):
            yield (
                f"{step.name} was {step.after or 'removed'} after this run and is {version} now; all packages of "
                "this run are left as they are"
            )


def _remove_made(changes: Writer, record: PackageRecord) -> Iterator[str]:
    for piece in record.made:
        size = keeping.size_of(piece.path)
        if piece.size_bytes is not None and size is not None and size != piece.size_bytes:
            yield f"{piece.path} was changed since and is left as it is"
            continue
        changes.remove(piece.path)
        if piece.path.endswith(".py"):
            _remove_compiled(changes, piece.path)
    for folder in sorted(record.made_folders, key=len, reverse=True):
        if folder.endswith(".dist-info"):
            for name in keeping.files_below(folder):
                changes.remove(posixpath.join(folder, name))
        keeping.remove_if_empty(posixpath.join(folder, "__pycache__"))
        if not keeping.remove_if_empty(folder):
            yield f"{folder} holds files of others and is left as it is"


def _remove_compiled(changes: Writer, path: str) -> None:
    folder, name = posixpath.split(path)
    cache = posixpath.join(folder, "__pycache__")
    stem = name.removesuffix(".py") + "."
    for compiled in keeping.files_below(cache):
        if compiled.startswith(stem) and compiled.endswith(".pyc"):
            changes.remove(posixpath.join(cache, compiled))


def _give_back(record: PackageRecord, number: int) -> Iterator[str]:
    for folder in sorted(record.folders, key=lambda f: len(f.path)):
        keeping.make_former_folder(folder)
    for order, piece in enumerate(record.kept):
        path = piece.file.path
        if keeping.is_as_kept(piece.file):
            continue
        if keeping.exists(path) and not _is_ours(piece):
            yield f"{path} was changed since and is left as it is"
            continue
        temporary = posixpath.join(posixpath.dirname(path), f".gpudoctor-{number}-{order}.tmp")
        reason = keeping.give_back(piece.file, temporary)
        if reason is not None:
            yield f"{path} is left as it is: {reason}"


def _is_ours(piece: KeptPiece) -> bool:
    """Tell whether what is at the place of a former file is what this run put there."""
    path = piece.file.path
    if path.endswith(".pyc") or ".dist-info/" in path or piece.new_size_bytes is None:
        # Compiled anew by whoever imported it, or written anew for each environment.
        return path.endswith(".pyc") or ".dist-info/" in path or "/bin/" in path
    return keeping.size_of(path) == piece.new_size_bytes

"""Native programs and folders of libraries as consumers (`--binary`)."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import msgspec

from gpudoctor.loader.elf import ElfError, ElfObject, read_elf
from gpudoctor.loader.emulation import CannotEmulate, Emulation
from gpudoctor.loader.names import OpenedNames
from gpudoctor.loader.native_run import RUNTIME, NativeRun
from gpudoctor.loader.sites import Sites
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_MAX_FILES = 4096
_TENSORRT_PROVIDER = "libonnxruntime_providers_tensorrt"


def resolve_binary(
    system: ReadSystem, matrix: Matrix, target: Target, path: str, names: OpenedNames | None = None
) -> LoaderAnswer:
    """Say which GPU libraries a native program, a library, or the libraries of a folder will load.

    What they link is certain. What they open by name while they run is known of NVIDIA's and ONNX Runtime's own
    libraries; of others there is only the name among their constants, and the answer is marked as assumed.

    Args:
        system: The machine to look at.
        matrix: Families of GPU libraries.
        target: Environment and working directory; its executable opens libraries that belong to no program.
        path: The program, library or folder.
        names: The names read before, where the same files are judged again.

    Raises:
        UsageError: Nothing is at the path, or it is no ELF file.
    """
    names = names or OpenedNames(system)
    objects, unread = _objects(system, matrix, path, names)
    answers = [_resolve_file(system, matrix, target, names, file, elf) for file, elf in objects]
    answers = [a for (file, _), a in zip(objects, answers, strict=True) if file == path or not _is_idle(file, a)]
    unknowns = tuple(dict.fromkeys(u for a in answers for u in a.unknowns))
    facts = {name: value for a in answers for name, value in a.elf.items()}
    resolutions = tuple(r for a in answers for r in a.resolutions)
    faults = tuple(f for a in answers for f in a.import_faults)
    unread = tuple(dict.fromkeys((*unread, *(u for a in answers for u in a.unread), *names.unread)))
    if not resolutions and not unknowns and not faults:
        unknowns = (
            f"{path} links no GPU library and holds the name of none; one whose name it puts together while it runs "
            "cannot be told from its files",
        )
    return LoaderAnswer(resolutions, facts, unknowns, faults, unread)


_Objects = tuple[tuple[str, ElfObject], ...]


def _objects(system: ReadSystem, matrix: Matrix, path: str, names: OpenedNames) -> tuple[_Objects, tuple[str, ...]]:
    """Return the objects to judge, and what could not be looked at."""
    unread: list[str] = []
    try:
        kind = system.stat(path).kind
        if kind == "directory":
            return tuple(_objects_in(system, matrix, path, names, unread)), tuple(unread)
        return ((path, read_elf(system, path)),), ()
    except ElfError as error:
        raise UsageError(f"{path} is neither a program nor a library for this machine: {error.reason}") from error
    except (NotThere, CannotLook) as error:
        raise UsageError(f"{path} cannot be looked at: {error}") from error


def _objects_in(
    system: ReadSystem, matrix: Matrix, folder: str, names: OpenedNames, unread: list[str]
) -> Iterable[tuple[str, ElfObject]]:
    """Yield the objects in a folder, its bin and its lib that link or name GPU libraries or ONNX Runtime, each once."""
    seen: set[tuple[int, int]] = set()
    for directory in (folder, f"{folder}/bin", f"{folder}/lib"):
        for name in _names_of(system, directory, unread):
            if matrix.family_of(name) is not None:
                continue  # the libraries themselves are judged as what others load
            path = posixpath.join(directory, name)
            elf = _readable(system, path, unread)
            if elf is not None and elf.identity not in seen and _matters(matrix, elf, names.of(path, elf)):
                seen.add(elf.identity)
                yield path, elf


def _names_of(system: ReadSystem, directory: str, unread: list[str]) -> tuple[str, ...]:
    try:
        names = tuple(system.listdir(directory))
    except NotThere:
        return ()
    except CannotLook as error:
        unread.append(f"{directory} cannot be listed ({error.reason})")
        return ()
    if len(names) > _MAX_FILES:
        unread.append(f"{directory} has {len(names)} entries, and only the first {_MAX_FILES} were looked at")
    return names[:_MAX_FILES]


def _readable(system: ReadSystem, path: str, unread: list[str]) -> ElfObject | None:
    try:
        return read_elf(system, path)
    except (ElfError, NotThere):
        return None
    except CannotLook as error:
        unread.append(f"{path} cannot be read ({error.reason})")
        return None


def _matters(matrix: Matrix, elf: ElfObject, named: tuple[str, ...]) -> bool:
    """Tell whether an object links a GPU library or one that leads to some, or knows the name of one."""
    if any(matrix.family_of(name) is not None or name.startswith(RUNTIME) for name in elf.needed):
        return True
    families = (matrix.family_of(name) for name in map(posixpath.basename, named))
    return any(f is not None and not f.from_driver for f in families) or any(RUNTIME in name for name in named)


def _is_idle(file: str, answer: LoaderAnswer) -> bool:
    """Tell whether an object of a folder is one that comes along and that nobody can use without TensorRT.

    ONNX Runtime's archives hold that provider whether TensorRT is there or not; only who asks for it gets it.
    """
    provider = posixpath.basename(file).startswith(_TENSORRT_PROVIDER)
    return provider and any(r.family == "tensorrt" and r.outcome == "absent" for r in answer.resolutions)


def _resolve_file(
    system: ReadSystem, matrix: Matrix, target: Target, names: OpenedNames, path: str, elf: ElfObject
) -> LoaderAnswer:
    program = elf.interpreter is not None and not posixpath.basename(path).startswith("lib")
    if program:
        target = msgspec.structs.replace(target, executable=path, prefix=posixpath.dirname(path) or "/")
    try:
        emulation = Emulation(system, target)
    except CannotEmulate as error:
        return LoaderAnswer((), {}, (error.reason,))
    run = NativeRun(matrix, emulation, Sites(system, target.site_dirs), names, posixpath.basename(path))
    resolutions = tuple(run.resolve(None if program else path))
    facts = {m.path: m.elf.facts() for m in run.process.maps if not m.phantom}
    unknowns = (*emulation.unknowns, *run.unknowns)
    return LoaderAnswer(resolutions, facts, unknowns, tuple(run.import_faults), tuple(run.unread))

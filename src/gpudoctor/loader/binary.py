"""Native programs and folders of libraries as consumers (`--binary`), and single look-ups for probes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import msgspec

from gpudoctor.loader.answers import (
    Asking,
    linked_answer,
    linked_families,
    request_for,
    role_of,
    steps_of,
    unknown,
)
from gpudoctor.loader.elf import ElfError, ElfObject, read_elf
from gpudoctor.loader.emulation import CannotEmulate, Emulation
from gpudoctor.loader.process import Mapped, Process
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Family
from gpudoctor.model.errors import UsageError
from gpudoctor.model.snapshot import ImportFault, Resolution, SearchStep
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_RUNTIME = "libonnxruntime.so"
_PROVIDERS = ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so")
_MAX_FILES = 4096


class LibraryAnswer(msgspec.Struct, frozen=True):
    """Where a plain dlopen of the target finds a library.

    Attributes:
        path: The file; None when there is none that loads.
        searched: Every place tried.
        reason: Why there is no path.
        unknown: True when it could not be searched, which is not the same as not there.
    """

    path: str | None
    searched: tuple[SearchStep, ...] = ()
    reason: str | None = None
    unknown: bool = False


def find_library(system: ReadSystem, target: Target, soname: str) -> LibraryAnswer:
    """Find one library as a plain dlopen from the target's executable would."""
    return find_libraries(system, target, (soname,))[soname]


def find_libraries(
    system: ReadSystem, target: Target, sonames: tuple[str, ...], emulation: Emulation | None = None
) -> dict[str, LibraryAnswer]:
    """Find libraries as plain dlopen calls from the target's executable would, each in a process of its own.

    Args:
        system: The machine to look at.
        target: The process to emulate.
        sonames: What it opens.
        emulation: The target's loader, where the caller started it already.
    """
    try:
        emulation = emulation or Emulation(system, target)
    except CannotEmulate as error:
        return dict.fromkeys(sonames, LibraryAnswer(None, reason=error.reason, unknown=True))
    return {soname: _find(emulation, soname) for soname in sonames}


def _find(emulation: Emulation, soname: str) -> LibraryAnswer:
    process = emulation.process()
    try:
        process.start()
        mapped = process.dlopen(soname, process.main)
    except LoadError as error:
        request = request_for(process, soname)
        searched = steps_of((request,) if request else ())
        doubts = "; ".join(emulation.unknowns)
        return LibraryAnswer(
            None, searched, doubts or error.reason, unknown=bool(doubts) and error.failure == "missing"
        )
    request = request_for(process, soname)
    return LibraryAnswer(mapped.path, steps_of((request,) if request else ()))


def resolve_binary(system: ReadSystem, matrix: Matrix, target: Target, path: str) -> LoaderAnswer:
    """Say which GPU libraries a native program, a library, or the libraries of a folder will load.

    Args:
        system: The machine to look at.
        matrix: Families of GPU libraries.
        target: Environment and working directory; its executable opens libraries that belong to no program.
        path: The program, library or folder.

    Raises:
        UsageError: Nothing is at the path, or it is no ELF file.
    """
    objects, unread = _objects(system, matrix, path)
    answers = [_resolve_file(system, matrix, target, file, elf) for file, elf in objects]
    unknowns = tuple(dict.fromkeys(u for a in answers for u in a.unknowns))
    facts = {name: value for a in answers for name, value in a.elf.items()}
    resolutions = tuple(r for a in answers for r in a.resolutions)
    faults = tuple(f for a in answers for f in a.import_faults)
    if not resolutions and not unknowns and not faults:
        unknowns = (f"{path} links no GPU library; what it opens by name while it runs cannot be told from its files",)
    return LoaderAnswer(resolutions, facts, unknowns, faults, unread)


_Objects = tuple[tuple[str, ElfObject], ...]


def _objects(system: ReadSystem, matrix: Matrix, path: str) -> tuple[_Objects, tuple[str, ...]]:
    """Return the objects to judge, and what could not be looked at."""
    unread: list[str] = []
    try:
        kind = system.stat(path).kind
        if kind == "directory":
            return tuple(_objects_in(system, matrix, path, unread)), tuple(unread)
        return ((path, read_elf(system, path)),), ()
    except ElfError as error:
        raise UsageError(f"{path} is neither a program nor a library for this machine: {error.reason}") from error
    except (NotThere, CannotLook) as error:
        raise UsageError(f"{path} cannot be looked at: {error}") from error


def _objects_in(system: ReadSystem, matrix: Matrix, folder: str, unread: list[str]) -> Iterable[tuple[str, ElfObject]]:
    """Yield the objects in a folder, its bin and its lib that link GPU libraries or ONNX Runtime, each file once."""
    seen: set[tuple[int, int]] = set()
    for directory in (folder, f"{folder}/bin", f"{folder}/lib"):
        for name in _names_of(system, directory, unread):
            if matrix.family_of(name) is not None:
                continue  # the libraries themselves are judged as what others load
            elf = _readable(system, posixpath.join(directory, name), unread)
            if elf is not None and elf.identity not in seen and _matters(matrix, elf):
                seen.add(elf.identity)
                yield posixpath.join(directory, name), elf


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


def _matters(matrix: Matrix, elf: ElfObject) -> bool:
    return any(matrix.family_of(name) is not None or name.startswith(_RUNTIME) for name in elf.needed)


def _resolve_file(system: ReadSystem, matrix: Matrix, target: Target, path: str, elf: ElfObject) -> LoaderAnswer:
    program = elf.interpreter is not None and not posixpath.basename(path).startswith("lib")
    if program:
        target = msgspec.structs.replace(target, executable=path, prefix=posixpath.dirname(path) or "/")
    try:
        emulation = Emulation(system, target)
    except CannotEmulate as error:
        return LoaderAnswer((), {}, (error.reason,))
    run = _BinaryRun(matrix, emulation, posixpath.basename(path))
    resolutions = tuple(run.resolve(None if program else path))
    facts = {m.path: m.elf.facts() for m in run.process.maps if not m.phantom}
    return LoaderAnswer(resolutions, facts, (*emulation.unknowns, *run.unknowns), tuple(run.import_faults))


class _BinaryRun:
    """One program or library in one emulated process."""

    def __init__(self, matrix: Matrix, emulation: Emulation, name: str) -> None:
        self._matrix = matrix
        self._emulation = emulation
        self._name = name
        self.unknowns: list[str] = []
        self.import_faults: list[ImportFault] = []
        self.process: Process = emulation.process(
            family=lambda n: getattr(matrix.family_of(n), "name", None),
            tolerate=lambda n: matrix.family_of(n) is not None,
        )

    def resolve(self, library: str | None) -> Iterable[Resolution]:
        """Yield an answer for each family library; None for the program itself."""
        try:
            self.process.start()
            roots = [self.process.main]
            if library is not None:
                absolute = self._emulation.files.absolute(library)
                roots = [self.process.dlopen(absolute, self.process.main)]
        except LoadError as error:
            self._tell(error, library)
            yield from self._asked(error)
            return
        yield from self._linked(roots, "at start" if library is None else "when it is opened")
        yield from self._providers()

    def _tell(self, error: LoadError, library: str | None) -> None:
        """Note why the program or library itself does not load."""
        if self._matrix.family_of(error.culprit) is not None or self._emulation.unknowns:
            self.unknowns.append(f"{self._name} itself cannot be loaded: {error.reason}")
            return
        request = request_for(self.process, error.culprit)
        self.import_faults.append(
            ImportFault(
                consumer=self._name,
                scenario="alone",
                file=library or self.process.main.path,
                failure=error.failure,
                culprit=error.culprit,
                reason=error.reason,
                searched=steps_of((request,) if request else ()),
            )
        )

    def _asked(self, error: LoadError) -> Iterable[Resolution]:
        for request in self.process.log:
            family = self._matrix.family_of(request.name)
            if family is not None:
                asking = self._asking(request.requester, request.name, family, "at start")
                yield unknown(asking, f"not reached: {error.reason}", steps_of((request,)))

    def _providers(self) -> Iterable[Resolution]:
        """Yield what ONNX Runtime's CUDA provider links: the runtime opens it from its own folder."""
        runtime = next((m for m in self.process.maps if m.file_name.startswith(_RUNTIME)), None)
        if runtime is None:
            return
        opened: list[Mapped] = []
        for name in _PROVIDERS:
            path = posixpath.join(posixpath.dirname(self._emulation.files.absolute(runtime.path)), name)
            try:
                opened.append(self.process.dlopen(path, runtime))
            except LoadError as error:
                if error.culprit != path:  # a CPU build has no provider
                    self.unknowns.append(f"{name}: {error.reason}")
        yield from self._linked(opened, "when a session with the CUDA provider is created")

    def _linked(self, roots: list[Mapped], when: str) -> Iterable[Resolution]:
        for requester, name, family in linked_families(self._matrix, roots, self.process):
            yield linked_answer(
                self._matrix, self.process, self._asking(requester, name, family, when), self._emulation.unknowns
            )

    def _asking(self, requester: Mapped, name: str, family: Family, when: str) -> Asking:
        return Asking(
            consumer=self._name,
            scenario="alone",
            requester=requester.file_name,
            names=(name,),
            family=family.name,
            role=role_of(family, name),
            link="needed",
            when=when,
        )

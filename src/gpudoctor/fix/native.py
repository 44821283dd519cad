"""A native program, or a folder of libraries, as what is repaired (`--binary`)."""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.fix.settings import Resolver
from gpudoctor.loader.binary import resolve_binary
from gpudoctor.loader.elf import ElfError, read_elf
from gpudoctor.loader.names import OpenedNames
from gpudoctor.loader.target import Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

# What lies here came from the distribution's packages; /usr/local and /opt are the administrator's.
_MANAGED = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
_OPEN = "/usr/local"
_SET_ID_BITS = 0o6000


class Native(msgspec.Struct, frozen=True):
    """What `--binary` names.

    Attributes:
        path: The program, library or folder, absolute.
        root: The folder that a repair may write below.
        is_program: Whether it can be started.
    """

    path: str
    root: str
    is_program: bool

    @property
    def env_file(self) -> str:
        """Return where a file of variables for it goes."""
        folder = self.path == self.root
        return posixpath.join(self.root, "gpudoctor.env") if folder else f"{self.path}.gpudoctor.env"

    @property
    def is_managed(self) -> bool:
        """Tell whether its folder is the operating system's."""
        return _is_below(self.root, _MANAGED) and not _is_below(self.root, (_OPEN,))


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)


def native_path(system: ReadSystem, named: str) -> str:
    """Return the absolute path of what `--binary` names: journals are kept under it."""
    return posixpath.normpath(posixpath.join(system.cwd(), named))


def root_of(system: ReadSystem, path: str) -> str:
    """Return the folder that a repair may write below, whether the program is still there or not."""
    try:
        if system.stat(path).kind == "directory":
            return path
    except (NotThere, CannotLook):
        pass
    return posixpath.dirname(path) or "/"


def find_native(system: ReadSystem, path: str) -> Native:
    """Look at what is to be repaired.

    Args:
        system: The machine.
        path: From native_path.

    Raises:
        UsageError: Nothing is there, or it is no ELF file.
    """
    try:
        if system.stat(path).kind == "directory":
            return Native(path, path, is_program=False)
        elf = read_elf(system, path)
    except ElfError as error:
        raise UsageError(f"{path} is neither a program nor a library for this machine: {error.reason}") from error
    except (NotThere, CannotLook) as error:
        raise UsageError(f"{path} cannot be looked at: {error}") from error
    folder, name = posixpath.split(path)
    program = elf.interpreter is not None and not name.startswith("lib")
    return Native(path, folder or "/", is_program=program)


def process_of(system: ReadSystem, native: Native, process: Target) -> Target:
    """Return the process that is repaired: the program itself, else the one that opens the libraries.

    Args:
        system: The machine.
        native: What is repaired.
        process: A process with the right variables and package folders.
    """
    secure = False
    if native.is_program:
        capable = system.xattr(native.path, "security.capability") is not None
        secure = capable or bool(system.stat(native.path).mode & _SET_ID_BITS)
    executable = native.path if native.is_program else process.executable
    return msgspec.structs.replace(
        process, executable=executable, prefix=native.root, secure_execution=secure, preloads=(), doubts=()
    )


def answering(system: ReadSystem, matrix: Matrix, native: Native) -> Resolver:
    """Return how to emulate it under any variables."""
    names = OpenedNames(system)
    return lambda target: resolve_binary(system, matrix, target, native.path, names)

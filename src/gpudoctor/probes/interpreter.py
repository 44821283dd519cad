"""The target interpreter: which one is meant, and what it is, read from disk. It is never started."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Mapping
from typing import Literal

from gpudoctor.loader.elf import ElfError, read_interpreter
from gpudoctor.model.environment import Interpreter
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.probes.layout import Layout, find_layout
from gpudoctor.probes.paths import is_dir, is_file, names_in, native
from gpudoctor.probes.site_paths import probe_site_paths
from gpudoctor.probes.text import shown
from gpudoctor.system.protocol import CannotLook, FileStat, NotThere, ReadSystem

_UNIX_PROGRAMS = ("bin/python", "bin/python3")
_WINDOWS_PROGRAMS = ("Scripts/python.exe", "python.exe", "bin/python.exe")
_PROGRAM_NAME = re.compile(r"(python|pypy|graalpy)[\d.]*[a-z]{0,2}(\.exe)?", re.IGNORECASE)
_SET_ID_BITS = 0o6000
_ELF_MAGIC = b"\x7fELF"
_MACH_O_MAGICS = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")
_SHIM_LIMIT_BYTES = 4096


def find_target(system: ReadSystem, requested: str | None, current: str | None = None) -> str:
    """Return the path of the interpreter to judge.

    Args:
        system: The machine.
        requested: An interpreter, an environment folder, or a program's name on PATH; None for the default: the
            active environment (VIRTUAL_ENV, then CONDA_PREFIX), then the current interpreter.
        current: The interpreter that runs gpudoctor; None takes it from `sys`.

    Returns:
        Its path, absolute, links not followed.

    Raises:
        UsageError: Nothing that could be judged is there.
    """
    if requested is not None:
        return _find_requested(system, requested)
    environment = system.environ()
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environment.get(variable):
            return _find_active(system, variable, environment[variable])
    current = sys.executable if current is None else current
    if not current:
        raise UsageError("the current interpreter has no path; name one with --python")
    return native(system, current)


def probe_interpreter(system: ReadSystem, executable: str, environment: Mapping[str, str] | None = None) -> Interpreter:
    """Return what an interpreter is: its folders, version and search path, without running it.

    Args:
        system: The machine.
        executable: The path that starts it.
        environment: The variables it will start with (PYTHONPATH, HOME, …); None takes this process's.

    Returns:
        The interpreter. Nothing about a machine's state makes this raise.
    """
    layout = find_layout(system, executable)
    paths = probe_site_paths(system, layout, system.environ() if environment is None else environment)
    return Interpreter(
        executable=layout.executable,
        real_executable=layout.real_executable,
        prefix=layout.prefix,
        base_prefix=layout.base_prefix,
        version=layout.version,
        kind=_kind(system, layout, overlay=paths.overlay),
        site_dirs=paths.dirs,
        path_unknowns=paths.unknowns,
        elf_interpreter=_elf_interpreter(system, layout.real_executable),
        secure_execution=_secure_execution(system, layout.real_executable),
    )


# --- which interpreter is meant --------------------------------------------------------------------------------------


def _find_requested(system: ReadSystem, requested: str) -> str:
    if not requested.strip():
        raise UsageError("--python names nothing: give an interpreter or an environment folder")
    path = native(system, requested)
    if "/" not in path:
        path = _on_path(system, path) or path
    return _find(system, _joined(system, path))


def _find_active(system: ReadSystem, variable: str, value: str) -> str:
    try:
        return _find(system, _joined(system, native(system, value)))
    except UsageError as error:
        raise UsageError(f"{variable} is set, but {error}") from error


def _joined(system: ReadSystem, path: str) -> str:
    # Not normalised: `..` after a symbolic link to a folder would lead elsewhere.
    return path if re.match(r"[A-Za-z]:/", path) else posixpath.join(native(system, system.cwd()), path)


def _on_path(system: ReadSystem, name: str) -> str | None:
    """Return the program of a bare name, as a shell would, unless such a file or folder is right here."""
    if _stat_or_none(system, _joined(system, name)) is not None:
        return None
    separator = ";" if system.os_name == "windows" else ":"
    folders = (native(system, f) for f in system.environ().get("PATH", "").split(separator) if f)
    candidates = (posixpath.join(f, name + suffix) for f in folders for suffix in ("", ".exe"))
    return next((c for c in candidates if is_file(system, c)), None)


def _find(system: ReadSystem, path: str) -> str:
    try:
        stat = system.stat(path)
    except NotThere:
        raise UsageError(_missing(system, path)) from None
    except CannotLook as error:
        raise UsageError(f"{shown(error.reason)}; give an interpreter that this user can read") from None
    if stat.kind == "directory":
        return _program_in(system, path)
    _require_interpreter(system, path, stat)
    return path


def _missing(system: ReadSystem, path: str) -> str:
    link = system.readlink(path)
    if link is not None:
        return f"{shown(path)}: a link to {shown(link)}, which is not there; make the environment anew"
    return f"{shown(path)}: no such file or folder; give an interpreter or an environment folder"


def _program_in(system: ReadSystem, folder: str) -> str:
    """Return the interpreter of an environment folder."""
    programs = _WINDOWS_PROGRAMS if system.os_name == "windows" else _UNIX_PROGRAMS
    for program in programs:
        path = posixpath.join(folder, program)
        try:
            stat = system.stat(path)
        except NotThere:
            if system.readlink(path) is not None:
                raise UsageError(_missing(system, path)) from None
            continue
        except CannotLook as error:
            raise UsageError(_unreadable(system, path, error.reason)) from None
        _require_interpreter(system, path, stat)
        return path
    raise UsageError(_no_environment(system, folder))


def _unreadable(system: ReadSystem, path: str, reason: str) -> str:
    """Name what the link of an environment's interpreter leads to: it is there that this user may not read."""
    target = f" (it leads to {shown(system.realpath(path))})" if system.readlink(path) is not None else ""
    return f"{shown(reason)}{target}; run gpudoctor as a user who may read the interpreter, such as the service's own"


def _no_environment(system: ReadSystem, folder: str) -> str:
    try:
        names = system.listdir(folder)
    except (NotThere, CannotLook) as error:
        return f"{shown(str(error))}; give an environment folder that this user can read"
    inner = next(
        (n for n in (".venv", "venv", "env") if n in names and is_dir(system, posixpath.join(folder, n))), None
    )
    if inner is not None:
        return f"{shown(folder)}: no Python environment, but it holds one: give {shown(posixpath.join(folder, inner))}"
    if any(_PROGRAM_NAME.fullmatch(n) for n in names):
        return f"{shown(folder)}: not an environment's root; give the interpreter in it, or the folder above"
    program = "Scripts/python.exe" if system.os_name == "windows" else "bin/python"
    return f"{shown(folder)}: no Python environment (it has no {program}); give an interpreter or an environment folder"


def _require_interpreter(system: ReadSystem, path: str, stat: FileStat) -> None:
    """Raise unless a file is a Python interpreter's program.

    Raises:
        UsageError: It is a script, or something else.
    """
    if stat.kind != "file":
        raise UsageError(f"{shown(path)}: not a regular file; give an interpreter or an environment folder")
    try:
        head = system.read_bytes(path, _SHIM_LIMIT_BYTES)
    except (NotThere, CannotLook) as error:
        # Whoever may run a program but not read it (mode 0711) cannot have it judged from disk.
        raise UsageError(f"{shown(str(error))}; give an interpreter that this user can read") from None
    if head.startswith(b"#!"):
        raise UsageError(_script(system, path, head))
    if not _is_program(system, head) or not _is_named_python(system, path):
        raise UsageError(f"{shown(path)}: no Python interpreter; give an interpreter or an environment folder")


def _is_program(system: ReadSystem, head: bytes) -> bool:
    match system.os_name:
        case "linux":
            return head.startswith(_ELF_MAGIC)
        case "macos":
            return head.startswith(_MACH_O_MAGICS)
        case "windows":  # a venv's and uv's launchers (trampolines) are programs of their own
            return head.startswith(b"MZ")


def _is_named_python(system: ReadSystem, path: str) -> bool:
    names = (posixpath.basename(path), posixpath.basename(native(system, system.realpath(path))))
    parent = posixpath.dirname(posixpath.dirname(path))
    return any(_PROGRAM_NAME.fullmatch(n) for n in names) or is_file(system, posixpath.join(parent, "pyvenv.cfg"))


def _script(system: ReadSystem, path: str, head: bytes) -> str:
    """Return the sentence on a script that stands for an interpreter, with what to give instead."""
    if b"pyenv" in head:
        name = posixpath.basename(path)
        return (
            f"{shown(path)}: a pyenv shim, a script that chooses an interpreter when it runs; "
            f"give the interpreter that `pyenv which {shown(name)}` prints"
        )
    folder = posixpath.dirname(path)
    siblings = (posixpath.join(folder, n) for n in names_in(system, folder) if _PROGRAM_NAME.fullmatch(n))
    instead = next((s for s in siblings if s != path and _is_binary(system, s)), None)
    advice = f"give {shown(instead)}" if instead else "give the interpreter that it starts"
    return f"{shown(path)}: a script, not an interpreter; {advice}"


def _is_binary(system: ReadSystem, path: str) -> bool:
    try:
        return _is_program(system, system.read_bytes(path, 4))
    except (NotThere, CannotLook):
        return False


def _stat_or_none(system: ReadSystem, path: str) -> FileStat | None:
    try:
        return system.stat(path)
    except (NotThere, CannotLook):
        return None


# --- what it is ------------------------------------------------------------------------------------------------------


def _kind(
    system: ReadSystem, layout: Layout, *, overlay: bool
) -> Literal["venv", "conda", "system", "uv-overlay", "virtualenv"]:
    if layout.is_venv:
        if overlay or "extends-environment" in layout.config:
            return "uv-overlay"
        return "virtualenv" if "virtualenv" in layout.config else "venv"
    return "conda" if is_dir(system, posixpath.join(layout.prefix, "conda-meta")) else "system"


def _elf_interpreter(system: ReadSystem, program: str) -> Fact[str]:
    if system.os_name != "linux":
        return Absent()
    try:
        interpreter = read_interpreter(system, program)
    except NotThere:
        return Unknown("the interpreter's program is not there")
    except CannotLook as error:
        return Unknown(error.reason)
    except ElfError as error:
        return Unknown(f"{program}: {error.reason}")
    return Absent((program,)) if interpreter is None else Present(interpreter)


def _secure_execution(system: ReadSystem, program: str) -> Fact[bool]:
    """Tell whether the loader will ignore LD_LIBRARY_PATH: set-id bits or file capabilities on the program.

    Source: ld.so(8), "Secure-execution mode".
    """
    if system.os_name != "linux":
        return Absent()
    try:
        mode = system.stat(program).mode
    except NotThere:
        return Unknown("the interpreter's program is not there")
    except CannotLook as error:
        return Unknown(error.reason)
    return Present(bool(mode & _SET_ID_BITS) or system.xattr(program, "security.capability") is not None)

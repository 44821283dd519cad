"""The settings for a process that is about to start: only what they need is looked at, and the driver is not asked."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from gpudoctor.fix.candidates import Scene
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.settings import VARIABLE, Resolver, Settings, settings_for
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import value_of
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.interpreter import find_target, probe_interpreter
from gpudoctor.probes.libraries import probe_libraries
from gpudoctor.probes.selection import check_consumers
from gpudoctor.probes.shared_files import probe_shared_files
from gpudoctor.probes.targets import beside, native_target, target_of
from gpudoctor.probes.toolkits import probe_toolkits
from gpudoctor.probes.variables import judged_environment
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_PYTHON = re.compile(r"python(\d+(\.\d+)?t?)?(\.exe)?|pypy3?")
# What pip and uv write where the interpreter's path is too long for a `#!` line, or holds a blank.
_LONG_SHEBANG = re.compile(rb"#!/bin/sh\n'''exec' (?:\"([^\"\n]+)\"|'([^'\n]+)'|(\S+)) ")
_SHEBANG = re.compile(rb"#![ \t]*([^ \t\n]+)[^\n]*\n")


class SettingsRequest(msgspec.Struct, frozen=True):
    """For which process settings are wanted.

    Attributes:
        python: Interpreter or environment folder; None for the default.
        own_python: The interpreter that runs gpudoctor.
        consumers: Names as in `--for`; empty for all that are installed.
        binary: Native program or folder to serve instead of a Python environment.
        assignments: `NAME=VALUE` as in `--env`.
        env_file: File as in `--env-file`.
        command: The program to be run and its arguments; where it is a Python of some environment, or a script of one,
            that environment is the default.
        matrix_file: File as in `--matrix`; only for the command that is shown as a way out.
    """

    python: str | None = None
    own_python: str | None = None
    consumers: tuple[str, ...] = ()
    binary: str | None = None
    assignments: tuple[str, ...] = ()
    env_file: str | None = None
    command: tuple[str, ...] = ()
    matrix_file: str | None = None


class ProcessSettings(msgspec.Struct, frozen=True):
    """The answer for a process.

    Attributes:
        environment: All variables that it starts with, but for the answer.
        answer: What to set, or why nothing helps.
        repair: `gpudoctor fix` for the environment that was judged; empty for a native program.
    """

    environment: Mapping[str, str]
    answer: Settings | Refusal
    repair: str = ""


def process_settings(system: ReadSystem, matrix: Matrix, request: SettingsRequest) -> ProcessSettings:
    """Return the environment of a process and what its consumers need in it.

    Raises:
        UsageError: The request names something that is not there.
        InputFileError: The file of `--env-file` cannot be read.
    """
    check_consumers(matrix, request.consumers)
    files = (request.env_file,) if request.env_file else ()
    environment = judged_environment(system, request.assignments, files).environment
    if system.os_name != "linux":
        reason = f"only glibc's loader is emulated, not that of {system.os_name}: no settings can be computed here"
        return ProcessSettings(environment, Refusal(kind="unknown", reason=reason))
    target = _target(system, request, environment)
    resolve = _resolver(system, matrix, request)
    answer = resolve(target)
    scene = Scene(answer.resolutions, ())
    if request.binary is not None and not answer.resolutions and answer.unknowns:
        reason = f"what {request.binary} will load is not known: {'; '.join(answer.unknowns)}"
        return ProcessSettings(environment, Refusal(kind="unknown", reason=reason))
    # Where everything loads, what LD_LIBRARY_PATH put there may still be of two builds.
    if target.environment.get(VARIABLE) or any(r.outcome != "present" for r in answer.resolutions):
        scene = whole_scene(system, matrix, target, answer, beside(system, request.binary))
    repair = "" if request.binary is not None else _repair(request, target.executable)
    return ProcessSettings(environment, settings_for(system, matrix, target, scene, resolve=resolve), repair)


def _repair(request: SettingsRequest, executable: str) -> str:
    """Return the command with the options of now: without them it would be another environment, or other consumers."""
    more = (
        ("--python", executable),
        *(("--for", name) for name in request.consumers),
        *(("--env", text) for text in request.assignments),
        *((("--env-file", request.env_file),) if request.env_file else ()),
        *((("--matrix", request.matrix_file),) if request.matrix_file else ()),
    )
    return shlex.join(("gpudoctor", "fix", *(word for pair in more for word in pair)))


def _resolver(system: ReadSystem, matrix: Matrix, request: SettingsRequest) -> Resolver:
    binary = request.binary
    if binary is not None:
        from gpudoctor.loader.binary import resolve_binary
        from gpudoctor.loader.names import OpenedNames

        names = OpenedNames(system)
        return lambda target: resolve_binary(system, matrix, target, binary, names)
    from gpudoctor.loader.consumers import resolve_consumers

    return lambda target: resolve_consumers(system, matrix, target, request.consumers or None)


def whole_scene(
    system: ReadSystem, matrix: Matrix, target: Target, answer: LoaderAnswer, extra_dirs: tuple[str, ...]
) -> Scene:
    """Return what is known of a target, with the GPU libraries that nobody loads as yet.

    Args:
        system: The machine.
        matrix: Families of GPU libraries.
        target: The process.
        answer: What its loader answers.
        extra_dirs: Folders to look into besides, such as that of a native program.
    """
    distributions = probe_distributions(system, target.site_dirs, target.prefix)
    toolkits = probe_toolkits(system)
    libraries = probe_libraries(
        system,
        matrix,
        site_dirs=target.site_dirs,
        prefix=target.prefix,
        distributions=distributions,
        toolkits=value_of(toolkits) or (),
        extra_dirs=extra_dirs,
        resolutions=answer.resolutions,
        elf=answer.elf,
    )
    shared_files = probe_shared_files(system, distributions, matrix)
    return Scene(answer.resolutions, libraries, distributions, toolkits, shared_files)


def _target(system: ReadSystem, request: SettingsRequest, environment: Mapping[str, str]) -> Target:
    if request.binary is not None and request.python is None:
        return native_target(system, request.own_python, environment)
    return target_of(system, probe_interpreter(system, _interpreter(system, request), environment), environment)


def _interpreter(system: ReadSystem, request: SettingsRequest) -> str:
    """Return the interpreter meant: the one named, else that of the command, else the default."""
    if request.python is None and request.command:
        named = interpreter_of(system, request.command)
        if named is not None:
            try:
                return find_target(system, named, request.own_python)
            except UsageError:
                pass  # a program called python that is none: the default counts, and running it is the user's wish
    return find_target(system, request.python, request.own_python)


def interpreter_of(system: ReadSystem, command: Sequence[str]) -> str | None:
    """Return the Python that a program found on disk is, or is run by; None when it is another program.

    Args:
        system: The machine.
        command: Path of the program, and its arguments.
    """
    program = command[0]
    if _PYTHON.fullmatch(posixpath.basename(program)):
        return program
    try:
        start = system.read_bytes(program, 4096)
    except (NotThere, CannotLook):
        return None
    long = _LONG_SHEBANG.match(start)
    match = long or _SHEBANG.match(start)
    if match is None:
        return None
    path = next(group for group in match.groups() if group).decode("utf-8", "surrogateescape")
    return path if _PYTHON.fullmatch(posixpath.basename(path)) else None

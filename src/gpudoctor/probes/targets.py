"""Which process is judged: what an interpreter starts, or what stands in for a native program."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from gpudoctor.loader.target import Target
from gpudoctor.model.environment import Interpreter
from gpudoctor.model.fact import value_of
from gpudoctor.probes.paths import is_dir
from gpudoctor.probes.preloads import probe_preloads
from gpudoctor.system.protocol import ReadSystem


def target_of(system: ReadSystem, interpreter: Interpreter, environment: Mapping[str, str]) -> Target:
    """Return the process that an interpreter starts under an environment, import hooks of ours included."""
    hook = probe_preloads(system, interpreter.site_dirs)
    return Target(
        executable=interpreter.executable,
        prefix=interpreter.prefix,
        site_dirs=interpreter.site_dirs,
        environment=environment,
        cwd=system.cwd(),
        secure_execution=value_of(interpreter.secure_execution) or False,
        preloads=hook.preloads,
        doubts=hook.doubts,
    )


def native_target(system: ReadSystem, own_python: str | None, environment: Mapping[str, str]) -> Target:
    """Return the process for `--binary`: libraries that belong to no program are judged as if ours opened them."""
    executable = own_python or "/bin/sh"
    return Target(executable=executable, prefix="", site_dirs=(), environment=environment, cwd=system.cwd())


def beside(system: ReadSystem, binary: str | None) -> tuple[str, ...]:
    """Return the folders of a native program's own libraries: its own, and the `lib` in it or beside its `bin`."""
    if binary is None:
        return ()
    path = posixpath.normpath(posixpath.join(system.cwd(), binary))
    folder = path if is_dir(system, path) else posixpath.dirname(path)
    above, name = posixpath.split(folder)
    libs = [posixpath.join(folder, "lib")]
    if name == "bin" and above not in ("/", "/usr"):
        libs.append(posixpath.join(above, "lib"))
    return tuple(p for p in (folder, *libs) if is_dir(system, p))

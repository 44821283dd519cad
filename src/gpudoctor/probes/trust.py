"""What gpudoctor's own children may load: drivers of the machine, and nothing of what is judged.

A static check executes nothing of the target. A driver library that lies in the target, or that a folder of the target
on LD_LIBRARY_PATH would bring, is code of the target.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from gpudoctor.loader.ldso import SYSTEM_PREFIXES
from gpudoctor.loader.target import Target
from gpudoctor.system.protocol import ReadSystem

_VARIABLE = "LD_LIBRARY_PATH"


def roots_of(system: ReadSystem, target: Target, binary: str | None = None) -> tuple[str, ...]:
    """Return the folders that belong to what is judged; a prefix that is the system itself is none.

    Args:
        system: The machine.
        target: The judged process.
        binary: Native program or folder that is judged.
    """
    folders = [*target.site_dirs, *((target.prefix,) if target.prefix else ())]
    if binary is not None:
        path = system.realpath(posixpath.join(target.cwd, binary))
        folders += (path, posixpath.dirname(path))
        if posixpath.basename(posixpath.dirname(path)) in ("bin", "lib", "sbin"):
            folders.append(posixpath.dirname(posixpath.dirname(path)))
    real = (system.realpath(folder) for folder in folders)
    return tuple(folder for folder in dict.fromkeys(real) if folder not in SYSTEM_PREFIXES)


def lies_in(system: ReadSystem, path: str, roots: tuple[str, ...]) -> bool:
    """Tell whether a path, or the file behind its links, lies in one of the folders."""
    spellings = (posixpath.normpath(path), system.realpath(path))
    return any(f"{spelling}/".startswith(f"{root}/") for spelling in spellings for root in roots)


def without_target(system: ReadSystem, environment: Mapping[str, str], roots: tuple[str, ...]) -> Mapping[str, str]:
    """Return the judged environment with no folder of the target, and none that is relative, on LD_LIBRARY_PATH."""
    value = environment.get(_VARIABLE)
    if not value:
        return environment
    elements = re.split("[:;]", value)
    kept = [e for e in elements if e.startswith("/") and "$" not in e and not lies_in(system, e, roots)]
    others = {name: text for name, text in environment.items() if name != _VARIABLE}
    return {**others, _VARIABLE: ":".join(kept)} if kept else others

"""Programs that gpudoctor's own interpreter runs in a child process, because a driver library can hang or crash.

Each prints one JSON document a line, as soon as it knows it: what was learnt before a hang or a crash is kept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder

from gpudoctor.system.protocol import CannotLook

# Prefixes of variables that make the loader inject code, or trace (into files, some of them).
_DROPPED = ("LD_PRELOAD", "LD_AUDIT", "LD_DEBUG", "LD_PROFILE", "LD_TRACE_")


def child_argv(program: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line that runs one of the programs here.

    Isolated (`-I`) from the judged environment's PYTHON variables and working folder; without `site` (`-S`), whose
    `.pth` files take time; without writing byte code (`-B`).

    Args:
        program: Module name, such as `nvml`.
        *arguments: Passed on.

    Raises:
        CannotLook: This interpreter cannot be started again (it is embedded in another program).
    """
    if not sys.executable:
        raise CannotLook("this Python interpreter does not know its own path")
    return (sys.executable, "-I", "-S", "-B", os.path.join(os.path.dirname(__file__), f"{program}.py"), *arguments)


def child_environment(judged: Mapping[str, str]) -> dict[str, str]:
    """Return the judged environment as a child gets it: as it is, without what injects or traces."""
    return {name: value for name, value in judged.items() if not name.startswith(_DROPPED)}


def folder_of(module: str) -> str | None:
    """Return the folder on our own sys.path that holds a module, without importing it."""
    spec = PathFinder.find_spec(module)
    return os.path.dirname(spec.origin) if spec is not None and spec.origin else None

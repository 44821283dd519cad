"""Whether a process may still load something that asks for an executable stack.

Source: glibc 2.41, NEWS and sysdeps/unix/sysv/linux/dl-execstack.c: from that release on, dlopen refuses it where the
stack is not executable already. https://lists.gnu.org/archive/html/info-gnu/2025-01/msg00014.html (2026-11-21).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gpudoctor.loader.elftypes import ElfObject

_REFUSED_FROM = (2, 41)
_TUNABLE = "glibc.rtld.execstack=2"
_VERSION = re.compile(r"GLIBC_(\d+)\.(\d+)")


def refuses_executable_stack(libc: ElfObject | None, tunables: str, started_with: Iterable[ElfObject]) -> bool:
    """Tell whether dlopen refuses what asks for an executable stack.

    Args:
        libc: The process's libc.so.6; the versions that it defines tell its release.
        tunables: GLIBC_TUNABLES, empty where the loader ignores it.
        started_with: Every object of the process at its start: one of them may have made the stack executable.
    """
    defined = (libc.defines_versions if libc is not None else None) or ()
    if not any(_is_at_least(version, _REFUSED_FROM) for version in defined):
        return False
    return _TUNABLE not in tunables.split(":") and not any(elf.executable_stack for elf in started_with)


def _is_at_least(version: str, least: tuple[int, int]) -> bool:
    match = _VERSION.fullmatch(version)
    return match is not None and (int(match[1]), int(match[2])) >= least

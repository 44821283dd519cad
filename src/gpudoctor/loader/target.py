"""What is judged: one process that will start, and what the loader will answer in it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gpudoctor.model.snapshot import ElfFacts, Resolution


class Target(msgspec.Struct, frozen=True):
    """A process to be emulated.

    Attributes:
        executable: Path that starts it.
        prefix: Root of the environment: no program below it is ever started.
        site_dirs: Folders that packages are looked up in, in sys.path order.
        environment: Its environment variables, in full.
        cwd: Its working directory (empty and relative search elements mean this).
        secure_execution: True when the loader will ignore LD_LIBRARY_PATH (set-user-id, file capabilities).
    """

    executable: str
    prefix: str
    site_dirs: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    secure_execution: bool = False


class LoaderAnswer(msgspec.Struct, frozen=True):
    """What emulating a target's consumers gave.

    Attributes:
        resolutions: One per consumer, scenario and opening.
        elf: ELF facts of every object that was mapped, by the path it was opened under.
        unknowns: Why parts could not be emulated (musl, no hwcaps, unreadable cache).
    """

    resolutions: tuple[Resolution, ...]
    elf: Mapping[str, ElfFacts]
    unknowns: tuple[str, ...] = ()

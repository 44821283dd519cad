"""What is judged: one process that will start, and what the loader will answer in it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gpudoctor.model.loading import ElfFacts, ImportFault, Resolution


class Preload(msgspec.Struct, frozen=True):
    """Libraries that an import hook in the target opens by absolute path when a package is imported.

    Attributes:
        consumer: Import name of the package.
        paths: The libraries, dependencies first.
    """

    consumer: str
    paths: tuple[str, ...]


class Target(msgspec.Struct, frozen=True):
    """A process to be emulated.

    Attributes:
        executable: Path that starts it.
        prefix: Root of the environment: no program below it is ever started.
        site_dirs: Folders that packages are looked up in, in sys.path order.
        environment: Its environment variables, in full.
        cwd: Its working directory (empty and relative search elements mean this).
        secure_execution: True when the loader will ignore LD_LIBRARY_PATH (set-user-id, file capabilities).
        preloads: What gpudoctor's import hook in the target opens before a consumer's own import.
        doubts: Why the process may find libraries in ways that cannot be emulated.
    """

    executable: str
    prefix: str
    site_dirs: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    secure_execution: bool = False
    preloads: tuple[Preload, ...] = ()
    doubts: tuple[str, ...] = ()


class LoaderAnswer(msgspec.Struct, frozen=True):
    """What emulating a target's consumers gave.

    Attributes:
        resolutions: One per consumer, scenario and opening.
        elf: ELF facts of every object that was mapped, by the path it was opened under.
        unknowns: Why parts could not be emulated (musl, no hwcaps, unreadable cache).
        import_faults: Consumers that cannot be imported, where no GPU library is at fault.
        unread: What of a folder was not looked at, and why.
    """

    resolutions: tuple[Resolution, ...]
    elf: Mapping[str, ElfFacts]
    unknowns: tuple[str, ...] = ()
    import_faults: tuple[ImportFault, ...] = ()
    unread: tuple[str, ...] = ()

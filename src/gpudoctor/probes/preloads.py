"""Which libraries gpudoctor's own import hook opens in an environment, read from the hook's file."""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.loader.preload_hook import HOOK_FILE, PTH_FILE, PTH_TEXT, read_hook
from gpudoctor.loader.target import Preload
from gpudoctor.probes.text import shown
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_LIMIT_BYTES = 256 << 10


class Hook(msgspec.Struct, frozen=True):
    """What an import hook will open.

    Attributes:
        preloads: The libraries, by consumer.
        doubts: Why it may open others.
    """

    preloads: tuple[Preload, ...] = ()
    doubts: tuple[str, ...] = ()


def probe_preloads(system: ReadSystem, site_dirs: tuple[str, ...]) -> Hook:
    """Return what the import hooks of an environment open; nothing of them is executed."""
    preloads: list[Preload] = []
    doubts: list[str] = []
    for folder in site_dirs:
        try:
            started = system.read_bytes(posixpath.join(folder, PTH_FILE), _LIMIT_BYTES) == PTH_TEXT.encode()
            text = system.read_bytes(posixpath.join(folder, HOOK_FILE), _LIMIT_BYTES).decode("utf-8", "replace")
        except NotThere:
            continue
        except CannotLook as error:
            doubts.append(f"the import hook in {shown(folder)} cannot be read: {shown(error.reason)}")
            continue
        found = read_hook(text, folder) if started else None
        if found is None:
            doubts.append(f"the import hook in {shown(folder)} is none that this gpudoctor wrote, or was edited")
        else:
            preloads += found
    return Hook(tuple(preloads), tuple(doubts))

"""Masking what identifies a person or a machine, so that a snapshot can be published."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from gpudoctor.model.snapshot import Snapshot
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, read_text

T = TypeVar("T", bound=msgspec.Struct)

_HOME = re.compile(r"(/home|/Users|[A-Za-z]:\\Users)([/\\])([^/\\:;\s\"']+)")
_GPU_UUID = re.compile(r"\b(GPU|MIG)-[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b")
_KEPT_USERS = ("root", "user", "Public", "Default")


def redact_here(snapshot: Snapshot, system: ReadSystem | None = None) -> Snapshot:
    """Redact a snapshot with the names of the machine and user that run gpudoctor."""
    if system is None:
        from gpudoctor.system.real import RealSystem

        system = RealSystem()
    environ = system.environ()
    try:
        host = read_text(system, "/proc/sys/kernel/hostname", 256).strip()
    except (NotThere, CannotLook):
        host = environ.get("COMPUTERNAME", "")
    home = environ.get("HOME") or environ.get("USERPROFILE") or ""
    user = environ.get("USER") or environ.get("LOGNAME") or environ.get("USERNAME") or ""
    return redact(snapshot, home=home, user=user, host=host)


def redact(snapshot: Snapshot, *, home: str, user: str, host: str) -> Snapshot:
    """Return the snapshot with home folders, user and host names and GPU serials masked.

    Equal texts stay equal, so that paths still join: a redacted snapshot is judged like the original.
    """
    mask = _Mask(home=home, user=user, host=host)
    plain = _map_strings(msgspec.to_builtins(snapshot), mask)
    plain["redacted"] = True
    return msgspec.convert(plain, Snapshot)


class _Mask:
    def __init__(self, *, home: str, user: str, host: str) -> None:
        home = home.rstrip("/\\") if home != "/root" else ""
        # Windows spells its home with backslashes, and the probes' paths have slashes.
        spellings = dict.fromkeys((home, home.replace("\\", "/"))) if len(home) > 1 else ()
        self._homes = tuple(re.compile(re.escape(spelling) + r"(?=[/\\:;]|$)") for spelling in spellings)
        words = [re.escape(w) for w in (user,) if len(w) > 1 and w not in _KEPT_USERS]
        # A user's name counts only as a whole path component: `/data/ann/` but not `/opt/channels`.
        self._user = re.compile(rf"(?<=[/\\])(?:{'|'.join(words)})(?=[/\\]|$)") if words else None
        self._host = re.compile(rf"(?<![\w.-]){re.escape(host)}(?![\w-])") if len(host) > 3 else None
        self._uuids: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        for home in self._homes:
            text = home.sub("/home/user", text)
        text = _HOME.sub(lambda m: m[0] if m[3] in _KEPT_USERS else f"{m[1]}{m[2]}user", text)
        if self._user:
            text = self._user.sub("user", text)
        if self._host:
            text = self._host.sub("host", text)
        return _GPU_UUID.sub(self._uuid, text)

    def _uuid(self, match: re.Match[str]) -> str:
        return self._uuids.setdefault(match[0], f"{match[1]}-redacted-{len(self._uuids)}")


def _map_strings(value: Any, mask: _Mask) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _map_strings(item, mask) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_map_strings(item, mask) for item in value]
    return value

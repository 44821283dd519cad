"""A folder tree taken down in full, so that two moments can be compared."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

# Above this size, inode and time stand for the content: a file is only ever replaced by a new one.
_HASHED_BYTES = 1 << 20


def tree_state(root: Path, *, times: bool = True) -> dict[str, tuple[object, ...]]:
    """Return what every path below a folder is: kind, mode, time, and content or link text."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            path = Path(folder) / name
            status = path.lstat()
            time = status.st_mtime_ns if times else 0
            key = str(path.relative_to(root))
            if stat.S_ISLNK(status.st_mode):
                found[key] = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                found[key] = ("folder", stat.S_IMODE(status.st_mode), time)
            elif status.st_size > _HASHED_BYTES:
                found[key] = ("file", stat.S_IMODE(status.st_mode), time, status.st_ino, status.st_size)
            else:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[key] = ("file", stat.S_IMODE(status.st_mode), time, digest)
    return found


def changed(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> list[str]:
    """Return the paths that differ, for messages that can be read."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def hard_copy(source: Path, target: Path) -> Path:
    """Copy an environment with hard links: a repair that wrote into a file in place would reach the original too."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-al", str(source), str(target)], check=True)
    return target

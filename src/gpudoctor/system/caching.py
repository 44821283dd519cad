"""The user's cache: folders that were made once, are whole or not there, and are safe under several processes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.writing import sync_folder, write_all

MANIFEST = "gpudoctor.json"
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_LOCK_WAIT_S = 1800.0
_LOCK_POLL_S = 0.2


class _File(msgspec.Struct, frozen=True):
    size_bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    files: dict[str, _File]


def cache_home(environment: Mapping[str, str]) -> str:
    """Return gpudoctor's folder in the user's cache.

    Source: https://specifications.freedesktop.org/basedir-spec (2026-11-21): a relative XDG_CACHE_HOME is ignored.
    macOS has ~/Library/Caches, Windows LOCALAPPDATA.

    Raises:
        GpuDoctorError: There is no home folder to put it in.
    """
    given = environment.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return os.path.join(given, "gpudoctor")
    local = environment.get("LOCALAPPDATA", "")
    if sys.platform == "win32" and os.path.isabs(local):
        return os.path.join(local, "gpudoctor", "Cache")
    home = environment.get("HOME", "")
    if not os.path.isabs(home):
        raise GpuDoctorError("there is no place to keep the model in: set HOME or XDG_CACHE_HOME")
    return os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache", "gpudoctor")


def obtain(
    home: str,
    name: str,
    make: Callable[[str], None],
    *,
    needed_bytes: int = 0,
    waiting: Callable[[], None] | None = None,
) -> str:
    """Return a folder of the cache, making it first where it is not there or damaged.

    It is made beside its place, written down with the checksum of each file, synced and only then given its name: a
    process that is killed leaves nothing that looks whole, and two that want the same wait for each other.

    Args:
        home: From cache_home.
        name: Of the folder.
        make: Fills an empty folder.
        needed_bytes: Least room that must be free to make it.
        waiting: Called once when another process is making it.

    Raises:
        GpuDoctorError: It cannot be written, there is no room, or another user's folder stands in its place.
    """
    folder = os.path.join(home, name)
    _refuse_strangers(home)
    if is_whole(folder):
        return folder
    with _told(home):
        os.makedirs(home, mode=0o700, exist_ok=True)
        with _locked(os.path.join(home, f"{name}.lock"), waiting):
            if not is_whole(folder):
                _discard_remains(home, name)
                _check_room(home, needed_bytes)
                _make(home, name, folder, make)
    return folder


def _refuse_strangers(home: str) -> None:
    """Refuse a folder that another user put where anybody may (`/tmp`): what lies in it is loaded as a model."""
    if sys.platform == "win32":
        return
    try:
        owner, around = os.stat(home).st_uid, os.stat(os.path.dirname(home)).st_mode
    except (OSError, ValueError):
        return  # using it tells what is wrong
    if owner not in (0, os.geteuid()) and around & stat.S_IWOTH:
        raise GpuDoctorError(
            f"{home}: this folder belongs to another user, in a place where anybody may put one; set XDG_CACHE_HOME to "
            "a folder of your own"
        )


def is_whole(folder: str) -> bool:
    """Tell whether a folder of the cache holds every file as it was written."""
    try:
        with open(os.path.join(folder, MANIFEST), "rb") as file:
            manifest = msgspec.json.decode(file.read(), type=_Manifest)
        paths = {os.path.join(folder, name): entry for name, entry in manifest.files.items()}
        if any(os.path.getsize(path) != entry.size_bytes for path, entry in paths.items()):
            return False
        return all(_sha256(path) == entry.sha256 for path, entry in paths.items())
    except (OSError, ValueError, msgspec.MsgspecError):
        return False


def _make(home: str, name: str, folder: str, make: Callable[[str], None]) -> None:
    temporary = tempfile.mkdtemp(prefix=f".{name}-", dir=home)
    try:
        make(temporary)
        _write_manifest(temporary)
        shutil.rmtree(folder, ignore_errors=True)  # what is there is damaged
        os.rename(temporary, folder)
        sync_folder(home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_manifest(folder: str) -> None:
    files: dict[str, _File] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        files[name] = _File(os.path.getsize(path), _sha256(path))
        _sync(path)
    fd = os.open(os.path.join(folder, MANIFEST), os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC, 0o600)
    try:
        write_all(fd, msgspec.json.encode(_Manifest(files)))
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(folder)


def _discard_remains(home: str, name: str) -> None:
    """Remove what a killed process left; whoever holds the lock is the only one that makes this folder."""
    for entry in os.listdir(home):
        if entry.startswith(f".{name}-"):
            shutil.rmtree(os.path.join(home, entry), ignore_errors=True)


def _check_room(home: str, needed_bytes: int) -> None:
    free = shutil.disk_usage(home).free
    if free < needed_bytes:
        raise GpuDoctorError(
            f"{home}: {needed_bytes / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; make room, or set "
            "XDG_CACHE_HOME to a folder on another disk"
        )


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | _CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _locked(path: str, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Hold a lock that the kernel takes back when this process dies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o600)
    try:
        until = time.monotonic() + _LOCK_WAIT_S
        told = False
        while not _try_lock(fd):
            if not told and waiting is not None:
                waiting()
            told = True
            if time.monotonic() > until:
                raise GpuDoctorError(f"{path}: another gpudoctor holds this lock and does not come to an end")
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


@contextlib.contextmanager
def _told(home: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise GpuDoctorError(
            f"{home}: nothing can be kept there ({detail}); set XDG_CACHE_HOME to a folder that can be written"
        ) from error


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """Give a folder that is gone afterwards.

    Raises:
        GpuDoctorError: There is no place for one.
    """
    try:
        folder = tempfile.mkdtemp(prefix="gpudoctor-")
    except OSError as error:
        raise GpuDoctorError(f"no temporary folder can be made: {error.strerror or error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

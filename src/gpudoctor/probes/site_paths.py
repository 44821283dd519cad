"""The folders on sys.path that can hold distributions, in its order, worked out as site.py does and without running it.

Source: https://docs.python.org/3/library/site.html; Debian's site.py (python3.11, package libpython3.11-minimal).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

import msgspec

from gpudoctor.probes.layout import Layout, lib_folders
from gpudoctor.probes.paths import absolute, is_dir, native
from gpudoctor.probes.pth import PTH_LIMIT_BYTES, PthLine, is_complete, parse_pth, understand_import
from gpudoctor.probes.source import constants_or_none
from gpudoctor.probes.text import shown
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

# Packages whose absence would be judged: an editable install of one of these must be found.
CONSUMER_PACKAGES = (
    "torch",
    "torchaudio",
    "torchvision",
    "torchcodec",
    "ctranslate2",
    "onnxruntime",
    "faster_whisper",
    "whisperx",
    "pyannote",
    "nvidia",
)
_DIR_LIMIT = 512
_PTH_FILE_LIMIT = 512
_UNKNOWN_LIMIT = 32


class SitePaths(msgspec.Struct, frozen=True):
    """Where distributions can be.

    Attributes:
        dirs: Folders, in sys.path order.
        unknowns: Why there may be more.
        overlay: True when an import line added folders, as `uv run --with` does.
    """

    dirs: tuple[str, ...]
    unknowns: tuple[str, ...]
    overlay: bool = False


def probe_site_paths(system: ReadSystem, layout: Layout, environment: Mapping[str, str]) -> SitePaths:
    """Return the folders that hold an interpreter's distributions.

    Args:
        system: The machine.
        layout: The interpreter's folders.
        environment: The variables it will start with.

    Returns:
        The folders in order, and why the list may be incomplete.
    """
    walk = _Walk(system, layout)
    for doubt in layout.doubts:
        walk.doubt(doubt)
    for element in _pythonpath(system, environment):
        walk.add(element)
    if environment.get("PYTHONHOME"):
        walk.doubt("PYTHONHOME is set: the interpreter starts from other folders")
    if _embedded_paths(walk, layout):
        return walk.result()
    for folder in site_folders(system, layout, layout.prefix):
        walk.add_site(folder)
    if _sees_system(layout):
        _add_system(walk, layout, environment)
    if not walk.dirs:
        walk.doubt(f"{shown(layout.prefix)}: no site-packages folder was found")
    return walk.result()


def site_folders(system: ReadSystem, layout: Layout, prefix: str) -> tuple[str, ...]:
    """Return the folders that site.py would try under a prefix, existing or not."""
    if system.os_name == "windows":
        return (prefix, posixpath.join(prefix, "Lib/site-packages"))
    libs = lib_folders(system, prefix, layout.minor, layout.lib_names)
    site_packages = tuple(posixpath.join(lib, "site-packages") for lib in libs)
    if is_dir(system, posixpath.join(prefix, "lib/python3/dist-packages")):
        return (*(site_packages if layout.is_venv else ()), *_debian_folders(prefix, layout.minor))
    if prefix == "/usr":  # Fedora puts /usr/local before it
        return (*(posixpath.join("/usr/local", f[len("/usr/") :]) for f in site_packages), *site_packages)
    return site_packages


def _debian_folders(prefix: str, minor: str | None) -> tuple[str, ...]:
    local = (posixpath.join(prefix, f"local/lib/python{minor}/dist-packages"),) if minor else ()
    deprecated = (posixpath.join(prefix, f"lib/python{minor}/dist-packages"),) if minor else ()
    return (*local, posixpath.join(prefix, "lib/python3/dist-packages"), *deprecated)


def _sees_system(layout: Layout) -> bool:
    """Tell whether the base installation's folders are on the path; site.py's default is yes."""
    return not layout.is_venv or layout.config.get("include-system-site-packages", "true").lower() == "true"


def _add_system(walk: _Walk, layout: Layout, environment: Mapping[str, str]) -> None:
    user = _user_site(walk.system, layout, environment)
    if user:
        walk.add_site(user)
    if layout.base_prefix != layout.prefix:
        for folder in site_folders(walk.system, layout, layout.base_prefix):
            walk.add_site(folder)


def _pythonpath(system: ReadSystem, environment: Mapping[str, str]) -> tuple[str, ...]:
    value = environment.get("PYTHONPATH", "")
    separator = ";" if system.os_name == "windows" else ":"
    return tuple(absolute(system, e, system.cwd()) for e in value.split(separator)) if value else ()


def _user_site(system: ReadSystem, layout: Layout, environment: Mapping[str, str]) -> str | None:
    """Return the user's own folder; None when it is switched off or there is no home."""
    if environment.get("PYTHONNOUSERSITE") or layout.minor is None:
        return None
    base = environment.get("PYTHONUSERBASE")
    if system.os_name == "windows":
        base = base or posixpath.join(environment.get("APPDATA", "~"), "Python")
        folder = f"Python{layout.minor.replace('.', '')}/site-packages"
        return posixpath.join(native(system, base), folder)
    home = environment.get("HOME") or _home_of(system)
    if base is None and home is None:
        return None
    if system.os_name == "macos" and "/Python.framework/" in layout.base_prefix and base is None:
        return posixpath.join(str(home), f"Library/Python/{layout.minor}/lib/python/site-packages")
    return posixpath.join(base or posixpath.join(str(home), ".local"), f"lib/python{layout.minor}/site-packages")


def _home_of(system: ReadSystem) -> str | None:
    """Return the home folder of the effective user, as Python finds it when HOME is not set."""
    uid = system.effective_uid()
    try:
        lines = system.read_bytes("/etc/passwd", 1 << 20).decode("utf-8", "surrogateescape").splitlines()
    except (NotThere, CannotLook):
        return None
    rows = (line.split(":") for line in lines)
    return next((row[5] for row in rows if len(row) > 5 and row[2] == str(uid)), None)


def _embedded_paths(walk: _Walk, layout: Layout) -> bool:
    """Follow `pythonXY._pth`, by which the embeddable Windows package lists its whole path; False without one."""
    if walk.system.os_name != "windows" or layout.minor is None:
        return False
    folder = posixpath.dirname(layout.executable)
    for name in (f"python{layout.minor.replace('.', '')}._pth", "python._pth"):
        try:
            raw = walk.system.read_bytes(posixpath.join(folder, name), PTH_LIMIT_BYTES)
        except (NotThere, CannotLook):
            continue
        lines = parse_pth(raw)
        for line in lines:
            if not line.is_import:
                walk.add(absolute(walk.system, line.text, folder))
        if any(line.text == "import site" for line in lines):
            walk.add_site(posixpath.join(layout.prefix, "Lib/site-packages"))
        return True
    return False


class _Walk:
    """sys.path as it grows while site.py runs."""

    def __init__(self, system: ReadSystem, layout: Layout) -> None:
        self.system = system
        self.dirs: list[str] = []
        self._unknowns: list[str] = []
        self._overlay = False
        self._known: set[str] = set()
        self._identities: set[tuple[int, int]] = set()
        self._visited: set[str] = set()
        self._pth_files = 0
        # Skipped from 3.11.8, 3.12.2 and 3.13 on (https://github.com/python/cpython/issues/113659).
        self._skips_hidden = layout.patch >= (3, 13) or (
            layout.patch[:2] in ((3, 11), (3, 12))
            and (layout.patch >= ((3, 11, 8) if layout.patch[:2] == (3, 11) else (3, 12, 2)))
        )

    def result(self) -> SitePaths:
        """Return what was found."""
        return SitePaths(tuple(self.dirs), tuple(self._unknowns), self._overlay)

    def doubt(self, reason: str) -> None:
        """Note why the path may hold more."""
        if len(self._unknowns) < _UNKNOWN_LIMIT and reason not in self._unknowns:
            self._unknowns.append(reason)

    def add(self, path: str) -> bool:
        """Append a folder that exists and is not on the path yet, and tell whether it is on it now."""
        if path in self._known:
            return True
        try:
            stat = self.system.stat(path)
        except NotThere:
            return False
        except CannotLook as error:
            self.doubt(f"cannot be looked at: {shown(error.reason)}")
            return False
        if stat.kind != "directory":
            return False
        self._known.add(path)
        # lib64 is often a link to lib: one folder, listed once. Windows knows no inode before Python 3.12.
        if stat.identity in self._identities and stat.identity[1]:
            return True
        if len(self.dirs) >= _DIR_LIMIT:
            self.doubt(f"more than {_DIR_LIMIT} folders on the path")
            return False
        self._identities.add(stat.identity)
        self.dirs.append(path)
        return True

    def add_site(self, path: str) -> None:
        """Do what site.addsitedir does: append the folder, then follow its `.pth` files in sorted order."""
        if path in self._visited or not self.add(path):
            return
        self._visited.add(path)
        try:
            names = self.system.listdir(path)
        except (NotThere, CannotLook) as error:
            self.doubt(f"cannot be listed: {shown(str(error))}")
            return
        for name in names:
            if name.endswith(".pth") and not (self._skips_hidden and name.startswith(".")):
                self._follow(path, name)

    def _follow(self, site_dir: str, name: str) -> None:
        path = posixpath.join(site_dir, name)
        self._pth_files += 1
        if self._pth_files > _PTH_FILE_LIMIT:
            self.doubt(f"more than {_PTH_FILE_LIMIT} .pth files")
            return
        try:
            raw = self.system.read_bytes(path, PTH_LIMIT_BYTES)
        except NotThere:
            return
        except CannotLook as error:
            self.doubt(f"cannot be read: {shown(error.reason)}")
            return
        if not is_complete(raw):
            self.doubt(f"{shown(path)}: too large, read in part")
        for line in parse_pth(raw):
            self._follow_line(site_dir, name, line)

    def _follow_line(self, site_dir: str, name: str, line: PthLine) -> None:
        if not line.is_import:
            self.add(absolute(self.system, line.text, site_dir))
            return
        meaning = understand_import(line.text)
        match meaning.kind:
            case "harmless":
                return
            case "site-dirs":
                self._overlay = True
                for folder in meaning.values:
                    self.add_site(absolute(self.system, folder, self.system.cwd()))
            case "finder":
                self._follow_finder(site_dir, name, line, meaning.values[0])
            case "other":
                self._doubt_line(site_dir, name, line)

    def _follow_finder(self, site_dir: str, name: str, line: PthLine, module: str) -> None:
        """Add the project folder of a GPU package that an editable install's hook serves; any other is no matter."""
        if not module.startswith("__editable__"):
            if any(
                module.startswith((f"_{package}_editable", f"_editable_impl_{package}"))
                for package in CONSUMER_PACKAGES
            ):
                self._doubt_line(site_dir, name, line)
            return
        mapping = constants_or_none(self.system, posixpath.join(site_dir, f"{module}.py")).get("MAPPING")
        if not isinstance(mapping, dict):
            self._doubt_line(site_dir, name, line)
            return
        for package, folder in mapping.items():
            if package in CONSUMER_PACKAGES and isinstance(folder, str):
                self.add(posixpath.dirname(absolute(self.system, folder, site_dir)))

    def _doubt_line(self, site_dir: str, name: str, line: PthLine) -> None:
        path = shown(posixpath.join(site_dir, name), 200)
        self.doubt(f"{path}, line {line.number}, runs code at start-up: {shown(line.text, 80)}")

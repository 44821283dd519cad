"""Places: paths without the folder, machine or user that they were seen on.

`{site}/nvidia/cudnn/lib/libcudnn_ops.so.9` is the same file in every copy of an environment. A folder that is neither
part of the environment nor of the system has no name of its own here (its name may be a user's); it is `{elsewhere:N}`,
numbered in the order of the search path.
"""

from __future__ import annotations

import posixpath
import re

from gpudoctor.model.fact import value_of
from gpudoctor.model.snapshot import Snapshot

_SYSTEM_ROOTS = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
_LOCAL_ROOTS = ("/usr/local/lib", "/usr/local/lib64")
_TOOLKIT = re.compile(r"^(?:/usr/local|/opt)/cuda(?:-(\d+(?:\.\d+)*))?(?=/|$)")


def clean(text: str) -> str:
    """Return text that any UTF-8 file can hold (file names may carry undecodable bytes as lone surrogates)."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_elsewhere(place: str) -> bool:
    """Tell whether a place is in a folder that has no name here."""
    return place.startswith("{elsewhere:")


def same_place(one: str | None, other: str | None) -> bool:
    """Tell whether two places may be one: numbers of unnamed folders say nothing across two machines."""
    if one is None or other is None or one == other:
        return one == other
    return is_elsewhere(one) and is_elsewhere(other) and posixpath.basename(one) == posixpath.basename(other)


class Places:
    """Names the places of one snapshot. Numbers unnamed folders in the order in which it is asked."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._windows = snapshot.host.os == "windows"
        self._elsewhere: dict[str, int] = {}
        # The longest root wins: /usr/lib/python3/dist-packages is a site folder, not a system one.
        self._roots = sorted(self._collect(snapshot).items(), key=lambda root: (-len(root[0]), root[0]))

    def _collect(self, snapshot: Snapshot) -> dict[str, str]:
        roots = dict.fromkeys(_SYSTEM_ROOTS, "{system}") | dict.fromkeys(_LOCAL_ROOTS, "{local}")
        for toolkit in value_of(snapshot.toolkits) or ():
            version = value_of(toolkit.version)
            roots[self._normal(toolkit.directory)] = f"{{toolkit:{version}}}" if version else "{toolkit}"
        interpreter = value_of(snapshot.interpreter)
        if interpreter is not None:
            roots[self._normal(interpreter.base_prefix)] = "{base}"
            prefix = self._normal(interpreter.prefix)
            roots[prefix] = "{prefix}"
            sites = [self._normal(directory) for directory in interpreter.site_dirs]
            # The environment's own folders first: one more folder on PYTHONPATH must not rename {site}.
            sites.sort(key=lambda directory: not _is_below(directory, prefix))
            for number, directory in enumerate(dict.fromkeys(sites), 1):
                roots[directory] = "{site}" if number == 1 else f"{{site:{number}}}"
        return {path: label for path, label in roots.items() if path not in ("", "/", ".")}

    def _normal(self, path: str) -> str:
        return posixpath.normpath(path.replace("\\", "/") if self._windows else path) if path else ""

    def of_directory(self, path: str) -> str:
        """Return the place of a folder."""
        path = self._normal(path)
        return self._rooted(path) or f"{{elsewhere:{self._number(path)}}}"

    def of_file(self, path: str) -> str:
        """Return the place of a file."""
        path = self._normal(path)
        folder, name = posixpath.split(path)
        return self._rooted(path) or clean(f"{{elsewhere:{self._number(folder)}}}/{name}")

    def _rooted(self, path: str) -> str | None:
        root, label = next((r for r in self._roots if _is_below(path, r[0])), ("", ""))
        match = _TOOLKIT.match(path)
        if match and match.end() > len(root):  # below /usr, which may be the interpreter's prefix, and not recorded
            root, label = match[0], f"{{toolkit:{match[1]}}}" if match[1] else "{toolkit}"
        return clean(_join(label, path[len(root) :].lstrip("/"))) if root else None

    def _number(self, folder: str) -> int:
        return self._elsewhere.setdefault(folder, len(self._elsewhere) + 1)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


def _join(label: str, rest: str) -> str:
    """Join a label and a path below it; system folders lose their inner path, which differs between distributions."""
    if label == "{system}" and rest:
        name = posixpath.basename(rest)
        return f"{label}/{name}" if ".so" in name or name.endswith((".dll", ".dylib")) else label
    return f"{label}/{rest}" if rest else label

"""The release of an object that opens others, for names that hold it: `libcudnn_ops.so.{shim}`."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.loader.files import Files
from gpudoctor.loader.sites import Sites
from gpudoctor.matrix.claims import NeedsLibrary
from gpudoctor.matrix.index import Matrix, matches_version

_RELEASE = re.compile(r"\.so\.([0-9]+(?:\.[0-9]+)*)$")
# How many parts of the release each mark stands for, the longest first.
_MARKS = (("{shim}", 3), ("{shim2}", 2), ("{shim1}", 1))


def filled_names(
    names: tuple[str, ...], requester: str, claim: NeedsLibrary, files: Files, sites: Sites, matrix: Matrix
) -> tuple[str, ...]:
    """Fill the requester's release into the names; without one, names that hold it are left out.

    Args:
        names: As the matrix has them.
        requester: Path of the object on whose behalf they are opened.
        claim: The claim that they are of.
        files: Files of the process.
        sites: Its package folders, which may tell the release where the file's name does not.
        matrix: Families and their providers.
    """
    if not any("{" in name for name in names):
        return names
    parts = _release(requester, claim, files, sites, matrix)
    filled: list[str] = []
    for name in names:
        mark, count = next((m for m in _MARKS if m[0] in name), ("", 0))
        if len(parts) >= count:
            filled.append(name.replace(mark, ".".join(parts[:count])) if mark else name)
    return tuple(dict.fromkeys(filled)) or names_without_release(names, claim.major)


def names_without_release(names: tuple[str, ...], major: str) -> tuple[str, ...]:
    """Return the names that can be told where the requester's release is never learnt: its major is the family's."""
    told = (n.replace("{shim1}", major) for n in names if "{shim}" not in n and "{shim2}" not in n)
    return tuple(dict.fromkeys(told)) or (names[0].partition("{")[0] + major,)


def _release(path: str, claim: NeedsLibrary, files: Files, sites: Sites, matrix: Matrix) -> list[str]:
    """Return the parts of an object's release: from its name, the file behind it, or its distribution."""
    best: list[str] = []
    for name in (path, files.system.realpath(files.absolute(path))):
        match = _RELEASE.search(name)
        best = max(best, match[1].split(".") if match else [], key=len)
    return best if len(best) >= 3 else _owner_release(path, claim, sites, matrix) or best


def _owner_release(path: str, claim: NeedsLibrary, sites: Sites, matrix: Matrix) -> list[str]:
    folder = posixpath.dirname(sites.relative(path) or "")
    family = matrix.families.get(claim.library)
    for provider in family.providers if family else ():
        if provider.distribution in claim.version_from and provider.directory == folder:
            found = sites.version(provider.distribution)
            if found is not None and matches_version(provider.versions, found[0]):
                return found[0].split(".")
    return []

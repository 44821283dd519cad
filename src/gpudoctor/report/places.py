"""Where a finding is shown in a repository: its own line, else the file that stands for the environment."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote

import msgspec

from gpudoctor.model.finding import Finding, Location

# Longest path that Linux takes; a longer one names no file, and would only swell the report.
_MOST_BYTES = 4096
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """How paths relate to the repository that a CI system shows.

    Attributes:
        cwd: The folder that relative paths start at.
        root: The repository's root; paths below it are shown relative to it.
        anchor: The file that findings which stand in no file are shown at; None for nowhere.
    """

    cwd: str = "/"
    root: str = "/"
    anchor: str | None = None

    def of(self, finding: Finding | None) -> Location | None:
        """Return where a finding (None: an open question) is shown; below the root, by its path from there."""
        place = finding.location if finding else None
        if place is None:
            return Location(file=self._relative(self.anchor), line=None) if self.anchor else None
        return Location(file=self._relative(place.file), line=place.line)

    def _relative(self, file: str) -> str:
        file = file[:_MOST_BYTES]
        if _DRIVE.match(file):
            file = file.replace("\\", "/")
            if not file.lower().startswith(f"{self.root.replace(chr(92), '/').lower()}/"):
                return file
            return file[len(self.root) + 1 :]
        whole = posixpath.normpath(posixpath.join(self.cwd, file))
        inside = posixpath.relpath(whole, self.root) if self.root.startswith("/") else posixpath.normpath(file)
        return whole if inside == ".." or inside.startswith("../") else inside


def uri_of(path: str) -> str:
    """Return a path as a URI reference: relative as it is, absolute as `file:`; everything special percent-encoded.

    Source: RFC 3986, sections 2.1 and 4.2 (a colon in the first segment would read as a scheme); RFC 8089.
    """
    encoded = quote(path.replace("\\", "/") if _DRIVE.match(path) else path, safe="/", errors="surrogatepass")
    if _DRIVE.match(path):
        return f"file:///{encoded}"
    return f"file://{encoded}" if path.startswith("/") else encoded

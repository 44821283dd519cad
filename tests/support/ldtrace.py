"""The real loader's own account (LD_DEBUG=libs,files), and its comparison with a predicted process."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gpudoctor.loader.mapped import Request
from gpudoctor.loader.process import Process

_PREFIX = re.compile(r"^\s*\d+:\t")
_FILE = re.compile(r"file=(.*?) \[0\];  (needed by|dynamically loaded by|generating link map)(?: (.*) \[0\])?$")
_TRYING = "  trying file="


@dataclass
class Asked:
    """One request in a trace."""

    name: str
    requester: str | None
    link: str
    tried: list[str] = field(default_factory=list)
    mapped: bool = False

    @property
    def path(self) -> str | None:
        """The file that was mapped; None when none was, or when it was mapped already under another name."""
        if not self.mapped:
            return None
        return self.tried[-1] if self.tried else self.name


def parse_trace(text: str) -> list[Asked]:
    """Parse a trace into its requests, in order."""
    asked: list[Asked] = []
    for raw in text.splitlines():
        line = _PREFIX.sub("", raw, count=1)
        found = _FILE.search(line)
        if found:
            name, what, by = found.groups()
            if what == "generating link map":
                if asked and asked[-1].name == name:
                    asked[-1].mapped = True
            else:
                asked.append(Asked(name, by, "dlopen" if what.startswith("dyn") else "needed"))
        elif _TRYING in line and asked:
            asked[-1].tried.append(line.split("trying file=", 1)[1])
    return asked


def predicted(process: Process, request: Request, argv0: str) -> Asked:
    """Return a request of the emulator in the form of a trace."""
    requester = argv0 if request.requester is process.main else request.requester.path
    tried = [] if "/" in request.name else [step.path for step in request.searched]
    # A truncated library and a program are mapped too, before they fail.
    mapped = request.path is not None and request.found_via != "already-loaded"
    return Asked(request.name, requester, request.link, tried, mapped)


def differences(process: Process, trace: list[Asked], argv0: str) -> list[str]:
    """Compare request by request: requester, name, link, the whole list of places tried, and whether it was mapped."""
    said = [predicted(process, request, argv0) for request in process.log]
    pairs = enumerate(zip(trace, said, strict=False))
    found = [f"request {i}:\n  real      {a}\n  predicted {b}" for i, (a, b) in pairs if a != b]
    if len(trace) != len(said):
        found.append(f"{len(trace)} requests, {len(said)} predicted; rest: {trace[len(said) :]} / {said[len(trace) :]}")
    return found

"""Environment markers of requirements, for the judged interpreter and not for the one that runs gpudoctor.

Source: https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers (2026-11-21)
"""

from __future__ import annotations

from gpudoctor.model.fact import value_of
from gpudoctor.model.snapshot import Snapshot

# Where the interpreter's version is not known: what most speech environments run on.
_USUAL_PYTHON = "3.11"


def marker_environment(snapshot: Snapshot) -> dict[str, str]:
    """Return the values of all marker variables in the judged environment, no extra asked for."""
    interpreter = value_of(snapshot.interpreter)
    python = (value_of(interpreter.version) if interpreter else None) or _USUAL_PYTHON
    return {
        "platform_system": {"linux": "Linux", "macos": "Darwin", "windows": "Windows"}[snapshot.host.os],
        "sys_platform": {"macos": "darwin", "windows": "win32"}.get(snapshot.host.os, "linux"),
        "os_name": "nt" if snapshot.host.os == "windows" else "posix",
        "platform_machine": snapshot.host.machine,
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "implementation_name": "cpython",
        "implementation_version": python,
        "platform_python_implementation": "CPython",
        "extra": "",
    }


def marker_holds(snapshot: Snapshot, marker: str | None, *, unreadable: bool) -> bool:
    """Tell whether a requirement's marker holds in the judged environment.

    Args:
        snapshot: The facts.
        marker: What follows the semicolon; None or blank holds everywhere.
        unreadable: The answer for a marker that cannot be read.
    """
    if not marker or not marker.strip():
        return True
    # Imported here: few requirements have a marker, and packaging costs 10 ms.
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

    try:
        return Marker(marker.strip()).evaluate(dict(marker_environment(snapshot)))
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName):
        return unreadable

"""Probe: programs that packages start by name, looked for as the judged process will: on its PATH."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable

_EXECUTABLE_BITS = 0o111


def probe_program(
    system: ReadSystem, name: str, environment: Mapping[str, str], folders: Iterable[str] = ()
) -> Fact[str]:
    """Find a program by name; nothing is started.

    Args:
        system: The machine.
        name: File name of the program.
        environment: Environment of the judged process.
        folders: Folders that count besides PATH: those that activating the environment puts there.
    """
    if system.os_name == "windows":
        return Unknown("programs are not looked for on windows")
    path = environment.get("PATH")
    if path is None:
        return Unknown("the environment has no PATH")
    doubt: str | None = None
    places = tuple(f"{folder}/{name}" for folder in dict.fromkeys((*folders, *path.split(":"))) if folder[:1] == "/")
    for place in places:
        try:
            stat = system.stat(place)
        except NotThere:
            continue
        except CannotLook as error:
            doubt = doubt or error.reason
            continue
        if stat.kind == "file" and stat.mode & _EXECUTABLE_BITS:
            return Present(encodable(place))
    return Unknown(doubt) if doubt else Absent(tuple(map(encodable, places)))

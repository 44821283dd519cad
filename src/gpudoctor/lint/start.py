"""The command that a container starts: what it sets before the program runs, or the script that may set it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from gpudoctor.lint.shell import ShellReader, Variables
from gpudoctor.lint.types import Parts, Reference
from gpudoctor.model.finding import Location

_SHELLS = ("sh", "bash", "dash", "zsh")
# Programs that only start their arguments.
_STARTERS = ("exec", "tini", "dumb-init", "gosu", "su-exec", "--", "-g", "env", "nice", "catatonit")
# Programs of which everybody knows that they set no library path.
_PROGRAMS = ("python", "uvicorn", "gunicorn", "uv", "poetry", "pdm", "celery", "sleep", "tail", "nginx", "supervisord")


def read_start(
    command: str | Sequence[str],
    place: Location,
    parts: Parts,
    variables: Variables | None = None,
    copied: Mapping[str, str] | None = None,
) -> None:
    """Add what a start command sets.

    Args:
        command: A shell's text, or the words of a program and its arguments.
        place: Where it stands.
        parts: Gets what is found.
        variables: Values known there.
        copied: Paths beside the file of what was copied into the image, by file name.
    """
    text = command if isinstance(command, str) else shlex.join(command)
    words = _words(command)
    while words and (words[0].rpartition("/")[2] in _STARTERS or "=" in words[0]):
        words = words[1:]
    if not words:
        return
    program = words[0].rpartition("/")[2]
    options = [w for w in words[1:3] if w.startswith("-")]
    if program in _SHELLS and any("c" in o for o in options):
        text = words[words.index(next(o for o in options if "c" in o)) + 1 :][0] if len(words) > 2 else ""
    elif program in _SHELLS:
        _script(next((w for w in words[1:] if not w.startswith("-")), ""), place, parts, copied or {})
    elif program.endswith((".sh", ".bash")) or _is_own(words[0], copied or {}):
        _script(words[0], place, parts, copied or {})
    ShellReader(place.file, parts, dict(variables or {}), place.line or 1).read(text)


def _words(command: str | Sequence[str]) -> list[str]:
    if not isinstance(command, str):
        return list(command)
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()


def _is_own(program: str, copied: Mapping[str, str]) -> bool:
    """Tell whether a program is a file of the project: one that was copied in, such as `/entrypoint`."""
    name = program.rpartition("/")[2]
    return name in copied and "." not in name and not name.startswith(_PROGRAMS)


def _script(path: str, place: Location, parts: Parts, copied: Mapping[str, str]) -> None:
    if path:
        name = path.rpartition("/")[2]
        parts.references.append(
            Reference(place=place, path=copied.get(name, path), kind="shell", starts=True),
        )

"""requirements.txt and constraints.txt: pip's own file format.

Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/ (2026-11-21). The reader that well-kept
projects use is pip's, which is no library; what can be taken from `packaging` is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import msgspec

from gpudoctor.lint.types import Parts, Puzzle, Reference, Requirement
from gpudoctor.model.finding import Location

_COMMENT = re.compile(r"(^|\s+)#.*$")
_OPTION = re.compile(r"\s--?(?:hash|config-settings|global-option|install-option)\b.*$")
_WHEEL = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[^-/]+)-[^/]*\.whl$")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9_.-]+)")
_PROJECT = re.compile(r"(?P<path>\.{0,2}(?:/[^\[\]#?:]*)?)(?P<extras>\[[^\]]*\])?")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}|\$\(|\$[A-Za-z_]")
_LONGEST = 4096


class Options(msgspec.Struct, frozen=True):
    """The index options that hold for a line.

    Attributes:
        index: Index instead of the default one.
        extra_indexes: Indexes besides.
        installer: Who reads the line.
        constraint: Whether lines only limit releases.
    """

    index: str | None = None
    extra_indexes: tuple[str, ...] = ()
    installer: str = "pip"
    constraint: bool = False


def parse_requirements(text: str, file: str, options: Options = Options()) -> Parts:  # noqa: B008 - immutable
    """Return the parts of a requirements file.

    Args:
        text: Its text.
        file: Its name, for places.
        options: What holds where it is pulled in.
    """
    parts = Parts()
    lines = list(logical_lines(text))
    # An index option holds for the whole file, wherever it stands.
    for _, line in lines:
        options = _with_index(line, options)
    for number, line in lines:
        _read_line(line, Location(file=file, line=number), options, parts)
    return parts


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, continuations joined, comments and blank lines left out."""
    start, kept = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        start = start if kept else number
        if line.endswith("\\") and not _COMMENT.match(line):
            kept += line[:-1]
            continue
        whole = _without_comment(kept + line)
        kept = ""
        if whole:
            yield start, whole
    if whole := _without_comment(kept):
        yield start, whole


def _without_comment(line: str) -> str:
    """Return a line without its comment, in time linear in its length."""
    if line.lstrip().startswith("#"):
        return ""
    at = next((n for n, c in enumerate(line) if c == "#" and line[n - 1].isspace()), len(line)) if "#" in line else None
    return line[:at].strip()


def _with_index(line: str, options: Options) -> Options:
    for option, value in _options(line):
        if option in ("-i", "--index-url", "--pypi-url"):
            options = msgspec.structs.replace(options, index=value)
        elif option in ("--extra-index-url", "-f", "--find-links"):
            options = msgspec.structs.replace(options, extra_indexes=(*options.extra_indexes, value))
        elif option == "--no-index":
            options = msgspec.structs.replace(options, index="none")
    return options


def _options(line: str) -> tuple[tuple[str, str], ...]:
    if not line.startswith("-"):
        return ()
    found: list[tuple[str, str]] = []
    words = _words(line)
    while words:
        option, _, value = words.pop(0).partition("=")
        if not value and words and not words[0].startswith("-"):
            value = words.pop(0)
        if option[:2] in ("-r", "-c", "-e", "-i", "-f") and len(option) > 2 and option[1] != "-":
            option, value = option[:2], option[2:]
        found.append((option, value))
    return tuple(found)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _read_line(line: str, place: Location, options: Options, parts: Parts) -> None:
    if not line.startswith("-"):
        read_requirement(_OPTION.sub("", f" {line}").strip(), place, options, parts)
        return
    for option, value in _options(line):
        if option in ("-r", "--requirement", "-c", "--constraint"):
            parts.references.append(
                Reference(
                    place=place,
                    path=value,
                    kind="requirements",
                    constraint=options.constraint or option in ("-c", "--constraint"),
                    index=options.index,
                    extra_indexes=options.extra_indexes,
                    installer=options.installer,
                )
            )
        elif option in ("-e", "--editable"):
            read_requirement(value, place, options, parts)


def read_requirement(text: str, place: Location, options: Options, parts: Parts) -> None:
    """Add one requirement as a user writes it for pip: a PEP 508 line, a URL, a path.

    Args:
        text: What is written, without options.
        place: Where.
        options: What holds there.
        parts: Gets the requirement, a reference to a project, or a puzzle.
    """
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed
    from packaging.utils import canonicalize_name

    text = text.strip()
    if len(text) > _LONGEST:
        parts.puzzles.append(Puzzle(place=place, text=f"{text[:80]}…", reason="it is too long for a requirement"))
        return
    project = _PROJECT.fullmatch(text)
    if project and text.startswith((".", "/")):
        extras = tuple(e.strip() for e in (project["extras"] or "").strip("[]").split(",") if e.strip())
        parts.references.append(
            Reference(place=place, path=project["path"], project=True, installer=options.installer, extras=extras)
        )
        return
    if (wheel := _WHEEL.search(text.partition("#")[0])) and " @ " not in text:
        parts.requirements.append(
            Requirement(
                place=place,
                name=canonicalize_name(wheel["name"]),
                specifier=pinned_to(_unquoted(wheel["version"])),
                url=text,
                installer=options.installer,
            )
        )
        return
    try:
        parsed = Parsed(text)
    except InvalidRequirement:
        parts.puzzles.append(Puzzle(place=place, text=text, reason=_why(text)))
        return
    url = getattr(parsed, "url", None)
    specifier = str(parsed.specifier)
    if url:
        fetched = _WHEEL.search(url.partition("#")[0])
        specifier = pinned_to(_unquoted(fetched["version"])) if fetched else ""
        if not fetched:
            parts.puzzles.append(
                Puzzle(
                    place=place, text=text, reason=f"which release of {parsed.name} that is stands only behind the URL"
                )
            )
    parts.requirements.append(
        Requirement(
            place=place,
            name=canonicalize_name(parsed.name),
            specifier=specifier,
            marker=str(parsed.marker) if parsed.marker else None,
            index=options.index,
            extra_indexes=options.extra_indexes,
            installer=options.installer,
            url=url,
            constraint=options.constraint,
        )
    )


def pinned_to(version: str) -> str:
    """Return the specifier of one release; an empty one where the text is no version."""
    from packaging.version import InvalidVersion, Version

    try:
        Version(version)
    except InvalidVersion:
        return ""
    return f"=={version}"


def _unquoted(version: str) -> str:
    return version.replace("%2B", "+").replace("%2b", "+").replace("_", "+", 1)


def _why(text: str) -> str:
    if _EGG.search(text) or re.match(r"(git|hg|svn|bzr)\+", text):
        return "it is installed from source, whose release only that source tells"
    if re.search(r"\s--?[a-z]", text):
        return "an option stands behind a requirement: pip wants it on a line of its own"
    if "://" in text:
        return "what is behind the URL is not known"
    if _VARIABLE.search(text):
        return "a variable decides what it is"
    return "it is no requirement that pip would read"

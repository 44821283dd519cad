"""Commands that install something, or put a library somewhere: pip, uv, poetry, conda, apt, ln."""

from __future__ import annotations

import posixpath
import re
from itertools import pairwise

import msgspec

from gpudoctor.lint.requirements import Options, read_requirement
from gpudoctor.lint.types import (
    TORCH_INDEX,
    Link,
    Parts,
    Puzzle,
    PythonVersion,
    Reference,
    Repair,
    Requirement,
    SystemPackage,
)
from gpudoctor.model.finding import Location

_PYTHON = re.compile(r"(.*/)?python[0-9.]*")
_PIP = re.compile(r"(.*/)?pip[0-9.]*")
_CONDA = ("conda", "mamba", "micromamba")
_APT = ("apt-get", "apt", "aptitude", "dnf", "yum", "microdnf")
_LIBRARY = re.compile(r"\.so\b|\*|/lib(64)?(/|$)|\blib[a-z]")
_SCRIPTS = (".sh", ".bash")
_SHELLS = ("sh", "bash", "dash", "source", ".")
_PREFIXES = ("sudo", "time", "nice", "exec", "command", "nohup", "then", "do", "else", "&&", "xvfb-run")
_INDEX = ("-i", "--index-url", "--default-index", "--pypi-url")
# A page of links is asked besides the index, as a further index is.
_EXTRA_INDEX = ("--extra-index-url", "--index", "-f", "--find-links")
# Options of pip and uv that take a value as a word of its own and say nothing about what is installed.
# fmt: off
_WITH_VALUE = frozenset((
    "--trusted-host", "--only-binary", "--no-binary", "--cache-dir", "--timeout", "--retries",
    "--root", "--prefix", "-t", "--target", "--python", "-p", "--platform", "--python-version", "--implementation",
    "--abi", "--progress-bar", "--proxy", "--cert", "--log", "--no-build-isolation-package", "--upgrade-package",
    "-P", "--prerelease", "--resolution", "--index-strategy", "--python-platform", "--link-mode",
    "--group", "--extra", "--directory", "--project", "--src", "--use-feature", "--exists-action",
    "--upgrade-strategy", "--config-setting", "-C", "--keyring-provider", "--config-file", "--exclude-newer",
    "--allow-insecure-host", "--refresh-package",
))
# fmt: on


class Word(msgspec.Struct, frozen=True):
    """One word of a command.

    Attributes:
        text: Its text, known variables filled in, the others as written.
        known: False when a part of it is decided only when the command runs.
        line: Line that it stands on, where it is another than the command's.
    """

    text: str
    known: bool = True
    line: int | None = None

    def at(self, place: Location) -> Location:
        """Return the word's own place, given its command's."""
        return Location(file=place.file, line=self.line) if self.line else place


def read_command(words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    """Add what a command installs, links or pulls in; nothing for a command that does none of it.

    Args:
        words: The command and its arguments.
        place: Where it stands.
        parts: Gets what is found.
    """
    words = _bare(words)
    if not words:
        return
    name, rest = words[0].text, words[1:]
    base = name.rpartition("/")[2]
    if not words[0].known:
        _unknown_program(words, place, parts)
    elif _PYTHON.fullmatch(name) and [w.text for w in rest[:2]] == ["-m", "pip"]:
        _pip(rest[2:], place, parts, "pip")
    elif _PIP.fullmatch(name):
        _pip(rest, place, parts, "pip")
    elif base == "uv":
        _uv(rest, place, parts)
    elif base in ("poetry", "pdm"):
        _poetry(rest, place, parts)
    elif base in _CONDA:
        _conda(rest, place, parts)
    elif base in _APT:
        _apt(rest, place, parts)
    elif base in ("ln", "cp"):
        _link(base, rest, place, parts)
    elif name.endswith(_SCRIPTS) or base in _SHELLS:
        _script(words, place, parts)
    elif base in ("gpudoctor", "eval"):
        _repair(base, rest, place, parts)


def _bare(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """Return a command without what only starts it: `sudo`, `env NAME=VALUE`, assignments."""
    rest = list(words)
    while rest and (rest[0].text in (*_PREFIXES, "env") or re.match(r"[A-Za-z_]\w*=", rest[0].text)):
        starter = rest.pop(0).text
        while starter in ("sudo", "env", "nice", "time") and rest and rest[0].text.startswith("-"):
            option = rest.pop(0).text
            if option in ("-u", "-g", "-n", "-C") and rest:
                rest.pop(0)
    return tuple(rest)


def _script(words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    """Note a script that a command runs, or reads: `./install.sh`, `bash install.sh`, `source env.sh`."""
    named = words if words[0].text.endswith(_SCRIPTS) else words[1:]
    script = next((w for w in named if not w.text.startswith("-")), None)
    if script is not None and script.known and script.text.endswith(_SCRIPTS):
        lasts = words[0].text in ("source", ".")
        parts.references.append(Reference(place=place, path=script.text, kind="shell", runs=True, starts=lasts))


def _unknown_program(words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    texts = [w.text for w in words[1:]]
    if texts[:3] == ["-m", "pip", "install"]:
        _pip(words[3:], place, parts, "pip")  # $PYTHON -m pip install …: whichever Python, it is pip
    elif texts[:1] == ["install"]:
        _pip(words[1:], place, parts, "pip")  # $PIP install …


def _text(words: tuple[Word, ...]) -> str:
    return " ".join(w.text for w in words)


# --- pip, uv, poetry -------------------------------------------------------------------------------------------------


def _pip(words: tuple[Word, ...], place: Location, parts: Parts, installer: str) -> None:
    words = _after(words, "install")
    if not words:
        return
    options, left, files = _pip_options(words[1:], installer)
    for kind, file in files:
        if not file.known:
            parts.puzzles.append(Puzzle(place=place, text=file.text, reason="a variable decides which file it is"))
            continue
        parts.references.append(
            Reference(
                place=place,
                path=file.text,
                kind=None if file.text.endswith(".toml") else "requirements",
                constraint=kind == "constraint",
                index=options.index,
                extra_indexes=options.extra_indexes,
                installer=installer,
            )
        )
    for word in left:
        if not word.known and not _is_named(word.text):
            reason = "a variable or command decides what it is"
            parts.puzzles.append(Puzzle(place=word.at(place), text=word.text, reason=reason))
        else:
            read_requirement(word.text, word.at(place), options, parts)


def _is_named(text: str) -> bool:
    return bool(re.match(r"[A-Za-z0-9][\w.-]*(\[[^\]]*\])?\s*([=<>!~]=?\s*[\w.*+]+)?$", text))


def _after(words: tuple[Word, ...], verb: str) -> tuple[Word, ...]:
    """Return the words from the verb on; empty when another verb comes first."""
    for index, word in enumerate(words):
        if word.text == verb:
            return words[index:]
        if not word.text.startswith("-"):
            return ()
    return ()


def _pip_options(
    words: tuple[Word, ...], installer: str
) -> tuple[Options, tuple[Word, ...], tuple[tuple[str, Word], ...]]:
    index: str | None = None
    extra: list[str] = []
    left: list[Word] = []
    files: list[tuple[str, Word]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.text.partition("=") if word.text.startswith("--") else (word.text, "", "")
        if not option.startswith("-"):
            left.append(word)
            continue
        if option[:2] in ("-r", "-c", "-e", "-i", "-f") and len(option) > 2 and option[1] != "-":
            option, equals, value = option[:2], "=", option[2:]
        known = _KNOWN_VALUES.get(option)
        if known is None and option not in _WITH_VALUE:
            continue
        taken = Word(value, word.known, word.line) if equals else (rest.pop(0) if rest else Word("", known=False))
        if known == "index":
            index = taken.text
        elif known == "extra":
            extra.append(taken.text)
        elif known == "backend":
            extra.append(f"{TORCH_INDEX}/{taken.text}" if taken.text != "auto" else TORCH_INDEX)
        elif known == "editable":
            left.append(taken)
        elif known:
            files.append((known, taken))
    return Options(index=index, extra_indexes=tuple(extra), installer=installer), tuple(left), tuple(files)


_KNOWN_VALUES = {
    **dict.fromkeys(_INDEX, "index"),
    **dict.fromkeys(_EXTRA_INDEX, "extra"),
    "--torch-backend": "backend",
    "-r": "file",
    "--requirement": "file",
    "--requirements": "file",
    "-c": "constraint",
    "--constraint": "constraint",
    "--constraints": "constraint",
    "-e": "editable",
    "--editable": "editable",
}


def _uv(words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    texts = [w.text for w in words if not w.text.startswith("-")]
    if texts[:2] == ["pip", "install"]:
        _pip(_after(_after(words, "pip")[1:], "install"), place, parts, "uv")
    elif texts[:2] == ["pip", "sync"]:
        files = [Word("-r"), *(w for w in _after(_after(words, "pip")[1:], "sync")[1:])]
        _pip((Word("install"), *files), place, parts, "uv")
    elif texts[:1] == ["add"]:
        _pip((Word("install"), *_after(words, "add")[1:]), place, parts, "uv")
    elif texts[:1] in (["sync"], ["run"]):
        parts.references.append(
            Reference(place=place, path=".", project=True, installer="uv", extras=_extras(words, "--extra"))
        )


def _extras(words: tuple[Word, ...], *options: str) -> tuple[str, ...]:
    """Return the extras that the options of a command ask for; `*` for all."""
    texts = [w.text for w in words]
    found = [t.partition("=")[2] for t in texts if t.startswith(tuple(f"{o}=" for o in options))]
    found += [after for option, after in pairwise(texts) if option in options]
    return ("*",) if "--all-extras" in texts else tuple(e for text in found for e in re.split(r"[\s,]+", text) if e)


def _poetry(words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    verb = next((w.text for w in words if not w.text.startswith("-")), "")
    if verb in ("install", "sync"):
        extras = _extras(words, "-E", "--extras")
        parts.references.append(Reference(place=place, path=".", project=True, installer="poetry", extras=extras))
    elif verb == "add":
        for word in _after(words, "add")[1:]:
            if not word.text.startswith("-"):
                spec = re.sub(r"@(?=[\^~<>=0-9])", "==", word.text, count=1)
                read_requirement(spec, place, Options(installer="poetry"), parts)


# --- conda, apt ------------------------------------------------------------------------------------------------------


def _conda(words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    texts = [w.text for w in words]
    if "-f" in texts or "--file" in texts:
        option = "-f" if "-f" in texts else "--file"
        index = texts.index(option) + 1
        if index < len(texts):
            parts.references.append(Reference(place=place, path=texts[index], kind="conda", installer="conda"))
        return
    if not {"install", "create"} & set(texts[:2]):
        return
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if word.text in ("-c", "--channel", "-n", "--name", "-p", "--prefix", "--solver"):
            rest[:1] = []
        elif not word.text.startswith("-"):
            read_conda(word.text, word.at(place), parts)


def read_conda(text: str, place: Location, parts: Parts) -> None:
    """Add one conda dependency: `pytorch::pytorch=2.5.1=py3.11_cuda12.4_cudnn9.1.0_0`, `python=3.11`, `cudnn>=9`.

    Source: https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html (2026-11-21)
    """
    from packaging.utils import canonicalize_name

    match = re.fullmatch(r"(?:[^:\s]+::?)?([A-Za-z0-9_.-]+)\s*(.*)", text.strip())
    if match is None:
        parts.puzzles.append(Puzzle(place=place, text=text, reason="it is no conda dependency"))
        return
    name: str = canonicalize_name(match[1])
    name = "torch" if name in ("pytorch", "pytorch-gpu") else name
    version = match[2].strip()
    if version.startswith("=") and not version.startswith("=="):
        version = version[1:].partition("=")[0]
    if name == "python":
        if found := re.match(r"[=~<>]*\s*(3\.\d+)", version):
            parts.pythons.append(PythonVersion(place=place, version=found[1]))
        return
    if version and version[0].isdigit():
        version = f"=={version.rstrip('.*')}.*" if "*" in version or version.count(".") < 2 else f"=={version}"
    parts.requirements.append(
        Requirement(place=place, name=name, specifier=_pep440(version, text, place, parts), installer="conda")
    )


def _pep440(version: str, text: str, place: Location, parts: Parts) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    plain = version.replace(" ", "")
    try:
        SpecifierSet(plain)
    except InvalidSpecifier:
        parts.puzzles.append(Puzzle(place=place, text=text, reason="its version is written in a way of conda's own"))
        return ""
    return plain


def _apt(words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    texts = [w.text for w in words]
    if "install" not in texts:
        return
    for word in words[texts.index("install") + 1 :]:
        if word.text.startswith("-"):
            continue
        name, _, version = word.text.partition("=")
        if not word.known:
            if re.search(r"cudnn|cublas|cuda", word.text):
                parts.puzzles.append(
                    Puzzle(place=place, text=word.text, reason="a variable decides which package it is")
                )
            continue
        if found := re.fullmatch(r"python(3\.\d+)(-venv|-dev|-full)?", name):
            parts.pythons.append(PythonVersion(place=word.at(place), version=found[1]))
        parts.system.append(SystemPackage(place=word.at(place), name=name, version=version or None))


# --- repairs and links ------------------------------------------------------------------------------------------------


def _repair(program: str, words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    """Note a line by which gpudoctor itself makes libraries findable: in the environment, or for one process."""
    texts = [w.text for w in words]
    if program == "eval":
        if any(re.search(r"\bgpudoctor\s+env\b", text) for text in texts):
            parts.repairs.append(Repair(place=place))
    elif texts[:1] == ["run"] or (texts[:1] == ["fix"] and "--apply" in texts):
        parts.repairs.append(Repair(place=place, installs="--packages" in texts))


def _link(program: str, words: tuple[Word, ...], place: Location, parts: Parts) -> None:
    flags = "".join(w.text for w in words if w.text.startswith("-"))
    if program == "cp" and not any(".so" in w.text for w in words):
        return
    names = [w.text for w in words if not w.text.startswith("-")]
    if "t" in flags.replace("--target-directory", "t"):
        return
    if len(names) < 2 or not any(".so" in name or "cudnn" in name or "cublas" in name for name in names):
        return
    target = names[-1]
    looks_like_file = ".so" in target.rpartition("/")[2]
    folder = posixpath.dirname(target) if looks_like_file else target.rstrip("/")
    parts.links += [Link(place=place, source=name, folder=folder or "/") for name in names[:-1]]

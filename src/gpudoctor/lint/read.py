"""Reading: the files that were named, what they pull in, and which of them make one environment together."""

from __future__ import annotations

import codecs
import posixpath

import msgspec

from gpudoctor.lint.kinds import kind_of, parse, unknown_kind
from gpudoctor.lint.types import LOADER_CONF, FileKind, Parts, Puzzle, Reference
from gpudoctor.model.errors import InputFileError
from gpudoctor.model.finding import Location
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

SIZE_LIMIT_BYTES = 32 << 20
_LOCKS = ("uv.lock", "pylock.toml", "poetry.lock")
_SKIPPED = frozenset(
    ["node_modules", "site-packages", "venv", "env", "__pycache__", "build", "dist", "third_party", "vendor"]
)
_MOST_FILES = 2000
_DEEPEST = 6
_MOST_ROUNDS = 500


class Environment(msgspec.Struct):
    """Files that together say what one environment will hold.

    Attributes:
        files: Their paths, in the order they were read.
        parts: Everything they say.
    """

    files: list[str]
    parts: Parts


class _Document(msgspec.Struct):
    """One file, read."""

    path: str
    kind: FileKind
    parts: tuple[Parts, ...]


def read_environments(system: ReadSystem, paths: tuple[str, ...], *, apart: bool = False) -> tuple[Environment, ...]:
    """Read files and folders, and what they pull in.

    Files that are named together are one environment, unless they are wanted apart; a compose file's services and a
    workflow's jobs are one each. The files found in a folder are one each, with what they pull in.

    Raises:
        InputFileError: A file cannot be read, is of no known kind or not what it should be; a folder holds nothing.
    """
    named: list[str] = []
    found: list[str] = []
    unread: list[Environment] = []
    for path in paths:
        if _is_folder(system, path):
            files, cut = _walk(system, path)
            if not files:
                raise InputFileError(f"{path}: no file of a known kind is in this folder")
            found += files
            if cut:
                unread.append(_left_out(path, f"it holds more than the {_MOST_FILES} files that were looked at"))
        else:
            named.append(path)
    reader = _Reader(system)
    named = list(dict.fromkeys(named))
    environments = (reader.each(named) if apart else reader.together(named)) if named else []
    environments += reader.apart([f for f in dict.fromkeys(found) if f not in named])
    return (*environments, *unread)


def _left_out(path: str, reason: str) -> Environment:
    return Environment([path], Parts(puzzles=[Puzzle(place=Location(file=path, line=None), text="", reason=reason)]))


def _is_folder(system: ReadSystem, path: str) -> bool:
    try:
        return system.stat(path).kind == "directory"
    except (NotThere, CannotLook):
        return False  # reading it says what is wrong


def _walk(system: ReadSystem, top: str) -> tuple[list[str], bool]:
    """Return the files of known kinds below a folder, in a stable order, and whether some were left out."""
    found: list[str] = []
    waiting = [(top, 0)]
    seen = {system.realpath(top)}
    while waiting:
        folder, depth = waiting.pop(0)
        try:
            entries = sorted(system.listdir(folder))
        except (NotThere, CannotLook):
            continue
        for name in entries:
            path = posixpath.join(folder, name) if folder != "." else name
            try:
                kind = system.stat(path).kind
            except (NotThere, CannotLook):
                continue
            if kind == "directory":
                hidden = name.startswith(".") and name != ".github"
                real = system.realpath(path)  # a link may lead back up
                if depth < _DEEPEST and name not in _SKIPPED and not hidden and real not in seen:
                    seen.add(real)
                    waiting.append((path, depth + 1))
            elif kind == "file" and _may_be_known(name) and _known(system, path):
                if len(found) == _MOST_FILES:
                    return found, True
                found.append(path)
    return found, False


def _may_be_known(name: str) -> bool:
    return name.endswith((".txt", ".in", ".toml", ".lock", ".yml", ".yaml", ".sh", ".bash", ".py")) or "file" in name


def _known(system: ReadSystem, path: str) -> bool:
    try:
        text = _text(system, path)
    except InputFileError:
        return False
    return kind_of(path, text) is not None


def _text(system: ReadSystem, path: str) -> str:
    try:
        data = system.read_bytes(path, SIZE_LIMIT_BYTES + 1)
    except NotThere as error:
        hint = ": lint reads files, since a name says what it holds, and not its standard input" if path == "-" else ""
        raise InputFileError(f"{path}: no such file{hint}") from error
    except CannotLook as error:
        raise InputFileError(f"{path}: cannot be read: {error.reason.removeprefix(f'{path}: ')}") from error
    if len(data) > SIZE_LIMIT_BYTES:
        raise InputFileError(f"{path}: larger than {SIZE_LIMIT_BYTES >> 20} MiB: no such file is written by hand")
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        # What `pip freeze > requirements.txt` writes in a Windows PowerShell; pip reads it, too.
        return data.decode("utf-16", "replace").replace("\r\n", "\n")
    if b"\0" in data[:4096]:
        raise InputFileError(f"{path}: it is a binary file")
    return data.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")


def _without_pulled(environments: list[Environment]) -> list[Environment]:
    pulled = {f for e in environments for f in e.files[1:]}
    return [e for e in environments if e.files[0] not in pulled]


def _unquoted(parts: Parts, path: str) -> Parts:
    """Return parts with their puzzles as one that quotes nothing."""
    if parts.puzzles:
        lines = "a line is none" if len(parts.puzzles) == 1 else f"{len(parts.puzzles)} lines are none"
        reason = f"{lines} that lint reads; not shown, since the file's name does not say that it is read by installers"
        parts.puzzles = [Puzzle(place=Location(file=path, line=None), text="", reason=reason)]
    return parts


def _asked(document: _Document, reference: Reference, extra: str | None) -> tuple[Parts, ...]:
    """Return the parts of a file that is pulled in: of a project and its lock, with the extras that are asked for."""
    if document.kind not in ("pyproject", "uv-lock"):
        return document.parts
    wanted = {*reference.extras, *([extra] if extra else ())}
    found = tuple(p for p in document.parts if p.extra in wanted or (p.extra and "*" in wanted))
    return found or document.parts[:1]


class _Reader:
    """Reads each file once."""

    def __init__(self, system: ReadSystem) -> None:
        self.system = system

    def together(self, paths: list[str]) -> list[Environment]:
        """Return the environments of files that were named together."""
        documents = [self._document(path) for path in paths]
        alone = [d for d in documents if len(d.parts) > 1]
        joined = [d for d in documents if len(d.parts) <= 1]
        base = self._closed(joined) if joined else None
        if not alone:
            return [base] if base else []
        several = [self._with_pulled(d.path, parts) for d in alone for parts in d.parts]
        pulled = {f for e in several for f in e.files}
        rest = [d for d in joined if d.path not in pulled]
        return [*several, *([self._closed(rest)] if rest else [])]

    def each(self, paths: list[str]) -> list[Environment]:
        """Return the environments of files that were named, one each, but for those that another one pulls in."""
        return _without_pulled([self._with_pulled(p, parts) for p in paths for parts in self._document(p).parts])

    def apart(self, paths: list[str]) -> list[Environment]:
        """Return the environments of files that were found, one each, but for those that another one pulls in."""
        return _without_pulled([e for path in paths for e in self._found(path)])

    def _found(self, path: str) -> list[Environment]:
        """Return the environments of a file that was found; one that is not what its name says is a puzzle."""
        try:
            return [self._with_pulled(path, parts) for parts in self._document(path).parts]
        except InputFileError as error:
            return [_left_out(path, str(error))]

    def _closed(self, documents: list[_Document]) -> Environment:
        """Return one environment of several files; those that another one pulls in are read as it says."""
        singles = [self._with_pulled(d.path, parts) for d in documents for parts in d.parts]
        pulled = {f for e in singles for f in e.files[1:]}
        whole = Environment([], Parts())
        for single in singles:
            if single.files[0] in pulled and not all(e.files[0] in pulled for e in singles):
                continue
            if set(single.files) <= set(whole.files):
                continue
            whole.parts.add(single.parts)
            whole.files += [f for f in single.files if f not in whole.files]
        return whole

    def _document(self, path: str, reference: Reference | None = None) -> _Document:
        text = _text(self.system, path)
        kind = (reference.kind if reference else None) or kind_of(path, text)
        if kind is None and path.endswith((".txt", ".in")):
            kind = "requirements"  # pip takes a file of any name
        if kind is None:
            raise unknown_kind(path)
        try:
            parts = parse(kind, text, path, reference)
        except RecursionError as error:
            raise InputFileError(f"{path}: nested too deeply to be such a file") from error
        if not self._may_be_quoted(path, text, reference):
            parts = tuple(_unquoted(p, path) for p in parts)
        return _Document(path, kind, parts)

    def _may_be_quoted(self, path: str, text: str, reference: Reference | None) -> bool:
        """Tell whether the lines of a file may be shown: it was named by the user, or its name says what it is.

        A line of a stranger's pull request (`-r .git/config`, a link to a key) prints no such file in a public log.
        """
        real = self.system.realpath(path)
        asked_for = reference is None and real.rpartition("/")[2] == path.rpartition("/")[2]
        return asked_for or kind_of(real, text) is not None

    def _with_pulled(self, path: str, parts: Parts) -> Environment:
        whole = Environment([path], Parts(extra=parts.extra))
        whole.parts.add(parts)
        waiting = [(path, r) for r in parts.references]
        if path.rpartition("/")[2] == "pyproject.toml":
            waiting += [(path, r) for r in self._locks_beside(path)]
        rounds = 0
        while waiting and rounds < _MOST_ROUNDS:
            rounds += 1
            from_path, reference = waiting.pop(0)
            for target in self._targets(from_path, reference, whole.parts):
                if target in whole.files:
                    continue
                document = self._document(target, None if reference.project else reference)
                whole.files.append(target)
                for more in _asked(document, reference, whole.parts.extra):
                    if reference.runs and not reference.starts:
                        more.settings = [s for s in more.settings if s.name == LOADER_CONF]
                    whole.parts.add(more)
                    waiting += [(target, r) for r in more.references]
        if waiting:
            whole.parts.add(_left_out(path, f"it leads to more than the {_MOST_ROUNDS} files that were followed").parts)
        return whole

    def _locks_beside(self, path: str) -> list[Reference]:
        folder = posixpath.dirname(path)
        present = [n for n in _LOCKS if self._is_file(posixpath.join(folder, n))]
        return [Reference(place=Location(file=path, line=None), path=n) for n in present[:1]]

    def _targets(self, path: str, reference: Reference, parts: Parts) -> list[str]:
        """Return the files that a reference means; a puzzle is noted where there is none."""
        if reference.project:
            return self._project(path, reference, parts)
        found = self._find(path, reference.path)
        if found is None:
            reason = "it is not beside this file, so what it says is not known"
            if reference.starts:
                parts.unread_starts.append(reference)
            if reference.runs:
                return []
            parts.puzzles.append(Puzzle(place=reference.place, text=reference.path, reason=reason))
        return [found] if found else []

    def _find(self, path: str, wanted: str) -> str | None:
        """Return a file as named from beside the file, from a folder above it (a build's context), or by its name."""
        folder = posixpath.dirname(path)
        names = wanted.lstrip("/").split("/")
        above = [folder, posixpath.join(folder, ".."), posixpath.join(folder, "..", "..")]
        tries = [posixpath.join(f, *names) for f in above]
        # `/app/scripts/start.sh` of an image may be `scripts/start.sh` of the folder that it is built from.
        tries += [posixpath.join(f, *names[n:]) for n in range(1, len(names)) for f in above[:2]]
        return next((t for t in map(posixpath.normpath, tries) if self._is_file(t)), None)

    def _project(self, path: str, reference: Reference, parts: Parts) -> list[str]:
        """Return a project's file: the lock for installers that follow one, else its pyproject.toml."""
        folder = posixpath.dirname(path)
        tops = [posixpath.join(folder, reference.path.lstrip("/")), folder, posixpath.join(folder, "..")]
        tops += [posixpath.join(folder, "..", "..")]
        names = {"uv": ("uv.lock",), "poetry": ("poetry.lock",)}.get(reference.installer, ())
        for top in map(posixpath.normpath, tops):
            found = [posixpath.normpath(posixpath.join(top, n)) for n in (*names, "pyproject.toml")]
            present = [f for f in found if self._is_file(f)]
            if present:
                return present
        reason = "its project file is not beside this file, so what it installs is not known"
        parts.puzzles.append(Puzzle(place=reference.place, text=reference.path, reason=reason))
        return []

    def _is_file(self, path: str) -> bool:
        try:
            return self.system.stat(path).kind == "file"
        except (NotThere, CannotLook):
            return False

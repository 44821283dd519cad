"""Compares the matrix with what is published today, and writes what a machine can know of it as a reviewable diff.

Usage: scripts/refresh_matrix.py [SUBJECT…] [--write]     (without SUBJECT: every package of the matrix)

Renews compat/releases.yaml, the releases that `gpudoctor pins` chooses from. For each package: releases newer than the
newest that a fact was read from, and of those the facts that METADATA and file names tell; facts that claim to hold for
such a release and do not; releases that were withdrawn; digests of published files, filled in where a fact has none. A
digest that differs from the recorded one is an alarm: published files never change. Prints a diff; --write changes
compat/ instead. Notes and alarms go to standard error.

Exit status: 0 no alarm, 1 a fact is contradicted or a published file is not what it was, 2 the index cannot be read.
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version
from remotezip import RemoteIOError
from requests import RequestException

from derive import derive, disagreement, is_derivable, new_facts, python_specifiers
from gpudoctor.matrix.claims import Conflicts, PairsWith, Yanked
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.load import load_matrix
from gpudoctor.matrix.sources import Source
from gpudoctor.matrix.types import Fact
from published import Index, NotPublished, Wheel, pythons_of

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "compat" / "facts"
RELEASES = ROOT / "compat" / "releases.yaml"
# Older ones no set of pins will name.
RELEASES_KEPT = 200
# No facts speak of these, but old releases of them have no wheels, so that what requires one cannot be installed.
SCARCE = ("av",)
# Pure Python and published as source archives only, which install wherever their Requires-Python says.
SOURCE_ONLY = ("openai-whisper",)
RELEASES_HEAD = "# Releases with wheels for Linux x86-64, and the Python versions that these install on.\n"
RELEASES_HEAD += "# Written by scripts/refresh_matrix.py: do not edit.\n"
PLATFORM = "linux-x86_64"
_FACT = re.compile(r"\s+- id: (\S+)")
_SOURCE = re.compile(r'\{kind: wheel, ref: "(?P<ref>[^"]+)"(?P<rest>[^}]*)\}')
_REF = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ :]+): ")


@dataclass
class Refresh:
    """What one run found.

    Attributes:
        matrix: The facts as they are.
        index: The package index.
        texts: New text by file of compat/facts.
        notes: What is new.
        alarms: What is wrong.
    """

    matrix: Matrix
    index: Index
    texts: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Note something that is new, once."""
        if text not in self.notes:
            self.notes.append(text)

    def alarm(self, text: str) -> None:
        """Note something that is wrong, once."""
        if text not in self.alarms:
            self.alarms.append(text)


def subjects_of(matrix: Matrix) -> tuple[str, ...]:
    """Return the subjects that are packages: all whose facts were read from wheels of their own name."""
    return tuple(
        sorted({fact.subject for fact in matrix.data.facts if any(_own(fact, source) for source in fact.sources)})
    )


def _own(fact: Fact, source: Source) -> re.Match[str] | None:
    match = _REF.match(source.ref) if source.kind == "wheel" else None
    return match if match and match["name"] == fact.subject else None


def newest_read(matrix: Matrix, subject: str) -> Version:
    """Return the newest release of a package that any fact was read from."""
    read = [
        Version(match["version"])
        for fact in matrix.data.facts
        if fact.subject == subject
        for source in fact.sources
        if (match := _own(fact, source))
    ]
    return max(read)


def refresh_subject(run: Refresh, subject: str, day: str) -> None:
    """Compare one package with the index: new releases, and facts that they contradict."""
    newest = newest_read(run.matrix, subject)
    added: list[dict[str, Any]] = []
    for version in run.index.releases(subject):
        if Version(version) <= newest:
            continue
        try:
            release = derive(run.index, subject, version, PLATFORM)
        except NotPublished as error:
            run.note(f"{error}: look at it by hand")
            continue
        if release.wheel.yanked:
            run.note(f"{subject}=={version}: new, and withdrawn by its authors")
            continue
        run.note(f"{subject}=={version}: a release that no fact was read from; its libraries were not looked at")
        for fact in _holding(run.matrix, subject, version):
            if wrong := disagreement(fact, release):
                run.alarm(f"{fact.id} holds for {subject}=={version}, and {wrong}")
        added += new_facts(run.matrix, release, day)
    if added:
        _append(run, FACTS / f"{subject}.yaml", added)


def _holding(matrix: Matrix, subject: str, version: str) -> Iterator[Fact]:
    kinds = {type(fact.claim) for fact in matrix.data.facts if fact.subject == subject and is_derivable(fact)}
    for kind in kinds:
        yield from (fact for fact, _ in matrix.facts(subject, kind, version, PLATFORM))


def _append(run: Refresh, path: Path, facts: list[dict[str, Any]]) -> None:
    text = run.texts.get(path) or (path.read_text("utf-8") if path.is_file() else "facts:\n")
    run.texts[path] = text + "".join(map(_in_house_style, facts))


def _in_house_style(fact: dict[str, Any]) -> str:
    """Write a fact as people write them here; JSON's strings are YAML's quoted ones."""
    when, claim, sources = fact["when"], fact["claim"], fact["sources"]
    lines = ["", f"  - id: {fact['id']}", f"    subject: {fact['subject']}"]
    lines += [
        f'    when: {{versions: "{when["versions"]}", platforms: [{", ".join(when["platforms"])}]}}',
        "    claim:",
    ]
    lines += [f"      {key}: {json.dumps(text) if key == 'versions' else text}" for key, text in claim.items()]
    lines += [f"    status: {fact['status']}", "    sources:"]
    for source in sources:
        rest = ", ".join(f"{key}: {json.dumps(text)}" for key, text in source.items() if key != "kind")
        lines.append(f"      - {{kind: {source['kind']}, {rest}}}")
    return "\n".join(lines) + "\n"


def refresh_digests(run: Refresh, path: Path, subjects: frozenset[str]) -> None:
    """Fill in the digests of the wheels that the facts of a file were read from, and compare those that are there."""
    text = run.texts.get(path) or path.read_text("utf-8")
    lines, fact = [], None
    for line in text.splitlines(keepends=True):
        named = _FACT.match(line)
        fact = run.matrix.fact(named[1]) if named else fact
        lines.append(_SOURCE.sub(partial(_with_digest, run, fact, subjects), line))
    if "".join(lines) != text:
        run.texts[path] = "".join(lines)


def _with_digest(run: Refresh, fact: Fact | None, subjects: frozenset[str], match: re.Match[str]) -> str:
    named = _REF.match(match["ref"])
    if named is None or (subjects and named["name"] not in subjects):
        return match[0]
    wheel = _wheel_of(run, named["name"], named["version"], fact)
    if wheel is None or wheel.sha256 is None:
        return match[0]
    recorded = re.search(r'sha256: "?([0-9a-f]{64})', match["rest"])
    if recorded and recorded[1] != wheel.sha256:
        run.alarm(f"{wheel.file}: the published file has the digest {wheel.sha256}, the matrix recorded {recorded[1]}")
    if wheel.yanked and not run.matrix.facts(wheel.name, Yanked, wheel.version):
        run.note(f"{wheel.name}=={wheel.version}: withdrawn by its authors (a source of {fact.id if fact else '?'})")
    return match[0] if recorded else f'{match[0][:-1]}, sha256: "{wheel.sha256}"}}'


def _wheel_of(run: Refresh, name: str, version: str, fact: Fact | None) -> Wheel | None:
    platforms = (fact.when.platforms if fact else ()) or (PLATFORM,)
    try:
        Version(version)
        return run.index.wheel(name, version, platforms[0])
    except InvalidVersion:
        return None  # `2.0.0 to 2.1.0` and the like
    except NotPublished as error:
        run.alarm(f"{error}; {fact.id if fact else '?'} was read from it")
        return None


def refresh(matrix: Matrix, index: Index, subjects: tuple[str, ...], day: str) -> Refresh:
    """Compare packages with the index; with no subjects, all of the matrix.

    Raises:
        RequestException: The index cannot be read.
    """
    run = Refresh(matrix, index)
    for subject in subjects or subjects_of(matrix):
        refresh_subject(run, subject, day)
    for path in sorted({*FACTS.glob("*.yaml"), *run.texts}):
        if path.is_file():
            refresh_digests(run, path, frozenset(subjects))
    if not subjects:
        refresh_releases(run, day)
    return run


def packages_of(matrix: Matrix) -> tuple[str, ...]:
    """Return the packages whose releases are kept: subjects, those that bring libraries, those that facts pair."""
    pairs = (fact.claim.package for fact in matrix.data.facts if isinstance(fact.claim, (PairsWith, Conflicts)))
    providers = (p.distribution for family in matrix.data.families for p in family.providers)
    subjects = (fact.subject for fact in matrix.data.facts if fact.subject != "cuda")
    return tuple(sorted({*subjects, *providers, *pairs, *SCARCE}))


def refresh_releases(run: Refresh, day: str) -> None:
    """Renew the list of published releases; the date of a package changes only when its releases did."""
    known = {releases.package: releases for releases in run.matrix.data.releases}
    text = RELEASES_HEAD + "releases:\n"
    for package in packages_of(run.matrix):
        try:
            versions = _published(run.index, package)
        except NotPublished as error:
            run.note(str(error))
            continue
        if not versions:
            continue
        same = package in known and known[package].versions == versions
        text += f'  - package: {package}\n    date: "{known[package].date if same else day}"\n    versions:\n'
        text += "".join(f'      "{version}": "{pythons}"\n' for version, pythons in versions.items())
    if not RELEASES.is_file() or RELEASES.read_text("utf-8") != text:
        run.texts[RELEASES] = text


def _published(index: Index, package: str) -> dict[str, str]:
    if package in SOURCE_ONLY:
        return dict(list(index.sources(package).items())[:RELEASES_KEPT])
    versions: dict[str, str] = {}
    for version in reversed(index.releases(package)):
        files = [wheel for wheel in index.release(package, version, PLATFORM) if not wheel.yanked]
        pythons = pythons_of(files)
        if pythons and len(versions) < RELEASES_KEPT:
            versions[version] = python_specifiers(pythons)
    return versions


def _print_diff(texts: dict[Path, str]) -> None:
    for path, text in sorted(texts.items()):
        name = path.relative_to(ROOT).as_posix()
        old = path.read_text("utf-8") if path.is_file() else ""
        sys.stdout.writelines(
            difflib.unified_diff(old.splitlines(True), text.splitlines(True), f"a/{name}", f"b/{name}")
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help="only these packages")
    parser.add_argument("--write", action="store_true", help="change compat/facts instead of printing a diff")
    arguments = parser.parse_args()
    matrix = load_matrix()
    unknown = set(arguments.subjects) - set(subjects_of(matrix))
    if unknown:
        parser.error(f"no fact was read from a wheel of {', '.join(sorted(unknown))}")
    try:
        run = refresh(
            matrix, Index(), tuple(arguments.subjects), datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        )
    except (RequestException, RemoteIOError, NotPublished) as error:
        print(f"refresh_matrix: the package index cannot be read: {error}", file=sys.stderr)
        return 2
    if arguments.write:
        for path, text in run.texts.items():
            path.write_text(text, "utf-8")
    else:
        _print_diff(run.texts)
    for line in (*(f"note: {note}" for note in run.notes), *(f"ALARM: {alarm}" for alarm in run.alarms)):
        print(f"refresh_matrix: {line}", file=sys.stderr)
    return 1 if run.alarms else 0


if __name__ == "__main__":
    sys.exit(main())

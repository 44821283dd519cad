"""What would be installed: the releases that an installer would take today, as far as the matrix knows them."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.lint.images import ImageFacts
from gpudoctor.lint.indexes import LABELLED, has_build, label_of
from gpudoctor.lint.target import Target, holds_marker
from gpudoctor.lint.types import Parts, Requirement
from gpudoctor.matrix.claims import PairsWith, Requires, Yanked
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Location

# How an index names the files that it hosts: by their digest.
_INDEX_FILE = re.compile(r"/packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/")
_EXACT = re.compile(r"^===?\s*([^,*]+)$")
_MOST_ROUNDS = 200


class Need(msgspec.Struct, frozen=True):
    """A requirement that a chosen package states.

    Attributes:
        specifier: Specifier set.
        by: Name of the package that states it.
        fact: Id of the fact that says so.
    """

    specifier: str
    by: str
    fact: str


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One package of the environment.

    Attributes:
        name: Canonical name.
        version: The release an installer would take, with its build label; None where nobody can tell.
        pinned: True when the files leave no choice.
        lines: The requirements that name it, first the one that installs it; none for one that only others require.
        needs: What other chosen packages want of it.
        place: The line to show: its own, else that of the package that wants it.
        candidates: Known releases that its own lines allow, newest first.
        bounded: Specifier set of its lines and of those who need it.
        missing: The release that it is pinned to, where that was never published; it has no version then.
    """

    name: str
    version: str | None
    pinned: bool
    lines: tuple[Requirement, ...]
    needs: tuple[Need, ...]
    place: Location
    candidates: tuple[str, ...] = ()
    bounded: str = ""
    missing: str | None = None

    @property
    def public(self) -> str | None:
        """The version without its label."""
        return self.version.partition("+")[0] if self.version else None

    @property
    def titled(self) -> str:
        """Name and version, as people write them."""
        return f"{self.name} {self.version}" if self.version else self.name


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """Requirements on one package that no release meets.

    Attributes:
        name: The package.
        lines: Lines of the files.
        needs: What chosen packages want, that the lines (or each other) exclude.
        place: Where to show it.
    """

    name: str
    lines: tuple[Requirement, ...]
    needs: tuple[Need, ...]
    place: Location


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The environment that an install would give.

    Attributes:
        packages: By name.
        disagreements: Where no release can be chosen.
        doubts: Requirements whose marker could not be decided.
        unchosen: Known packages of which no known release is allowed.
    """

    packages: dict[str, Chosen]
    disagreements: tuple[Disagreement, ...]
    doubts: tuple[Requirement, ...]
    unchosen: tuple[Chosen, ...] = ()

    def version(self, name: str) -> str | None:
        """Return the version of a package; None where it is not there or not known."""
        chosen = self.packages.get(name)
        return chosen.version if chosen else None

    def versions(self) -> dict[str, str | None]:
        """Return all packages with their versions."""
        return {name: chosen.version for name, chosen in self.packages.items()}


def make_plan(parts: Parts, images: tuple[ImageFacts, ...], matrix: Matrix, target: Target) -> Plan:
    """Return what an install of the files would give."""
    return _Planner(matrix, target).plan(parts, images)


def known_releases(matrix: Matrix, name: str) -> tuple[str, ...]:
    """Return the releases of a package that are known, newest first."""
    from packaging.version import Version

    return tuple(sorted(matrix.releases(name), key=Version, reverse=True))


def is_from_conda(chosen: Chosen) -> bool:
    """Tell whether conda installs a package: what pip's metadata requires of it says nothing then."""
    return bool(chosen.lines) and chosen.lines[0].installer == "conda"


def is_build_known(chosen: Chosen) -> bool:
    """Tell whether a package is the package index's build (or PyTorch's, by its label): not conda's, not some URL's."""
    url = chosen.lines[0].url if chosen.lines else None
    return not is_from_conda(chosen) and (
        not url or "+" in (chosen.version or "") or _INDEX_FILE.search(url) is not None
    )


def is_behind_url(chosen: Chosen) -> bool:
    """Tell whether only what a URL leads to says which release is installed: a repository, an archive."""
    return chosen.version is None and any(r.url for r in chosen.lines)


class _Planner:
    """Chooses releases: pinned ones first, then each further package as new as what is chosen allows."""

    def __init__(self, matrix: Matrix, target: Target) -> None:
        self.matrix = matrix
        self.target = target
        self.lines: dict[str, list[Requirement]] = {}
        self.constraints: dict[str, list[Requirement]] = {}
        self.needs: dict[str, list[Need]] = {}
        self.chosen: dict[str, Chosen] = {}
        self.bad: dict[str, Disagreement] = {}

    def plan(self, parts: Parts, images: tuple[ImageFacts, ...]) -> Plan:
        doubts = self._sort(parts)
        for image in images:
            if image.torch:
                place = image.image.place
                self.lines.setdefault("torch", []).append(
                    Requirement(place=place, name="torch", specifier=f"=={image.torch}", locked=True)
                )
        pinned = [n for n in self.lines if self._pin(n)]
        waiting = [*pinned, *(n for n in self.lines if n not in pinned)]
        for _ in range(_MOST_ROUNDS):
            if not waiting:
                break
            name = waiting.pop(0)
            before = self.chosen.get(name)
            now = self._choose(name)
            self.chosen[name] = now
            if before is None or before.version != now.version:
                waiting += [n for n in self._require(name, now) if n not in waiting]
        known = (c for c in self.chosen.values() if self.matrix.releases(c.name))
        unchosen = tuple(c for c in known if c.version is None and not c.missing and not is_behind_url(c))
        return Plan(packages=self.chosen, disagreements=tuple(self.bad.values()), doubts=doubts, unchosen=unchosen)

    def _sort(self, parts: Parts) -> tuple[Requirement, ...]:
        doubts = []
        locked = {r.name for r in parts.requirements if r.locked and holds_marker(r.marker, self.target) is not False}
        for requirement in parts.requirements:
            holds = holds_marker(requirement.marker, self.target)
            if holds is None:
                doubts.append(requirement)
                if requirement.constraint:
                    continue
                # Two pins for two Pythons do not contradict each other: the release is simply not known.
                requirement = msgspec.structs.replace(requirement, specifier="")
            if holds is False:
                continue
            into = self.constraints if requirement.constraint else self.lines
            if requirement.name in locked and not requirement.locked:
                into.setdefault(requirement.name, []).append(requirement)
            else:
                into.setdefault(requirement.name, []).insert(
                    0 if requirement.locked else len(into.get(requirement.name, [])), requirement
                )
        return tuple(doubts)

    def _pin(self, name: str) -> str | None:
        """Return the version that the files pin a package to."""
        for requirement in (*self.lines.get(name, ()), *self.constraints.get(name, ())):
            if match := _EXACT.match(requirement.specifier.strip()):
                return match[1].strip()
        return None

    def _choose(self, name: str) -> Chosen:
        lines = tuple(self.lines.get(name, ()))
        needs = tuple(self.needs.get(name, ()))
        limits = [r.specifier for r in (*lines, *self.constraints.get(name, ())) if r.specifier]
        pin = self._pin(name)
        place = lines[0].place if lines else self._place_of(needs)
        own = ",".join(limits)
        bounded = ",".join(dict.fromkeys([*limits, *(n.specifier for n in needs if n.specifier)]))
        # Which release a repository or an archive holds, nobody can tell: no guess is better than a wrong one.
        candidates = () if any(r.url and not r.specifier for r in lines) else self._candidates(name, own, lines)
        version = self._labelled(name, pin, lines) if pin else None
        if pin is None:
            version = self._newest(name, candidates, needs, lines)
        missing = pin if pin is not None and self._is_missing(name, pin, lines) else None
        self._disagree(name, lines, needs, version, candidates, place, pin is not None)
        return Chosen(
            name=name,
            version=None if missing else version,
            missing=missing,
            pinned=pin is not None,
            lines=lines,
            needs=needs,
            place=place,
            candidates=candidates,
            bounded=bounded,
        )

    def _is_missing(self, name: str, pin: str, lines: tuple[Requirement, ...]) -> bool:
        """Tell whether the package index never had a release, though it has newer ones."""
        from packaging.version import InvalidVersion, Version

        known = known_releases(self.matrix, name)
        line = lines[0] if lines else None
        elsewhere = line is None or line.url or line.index or line.locked or line.installer == "conda" or "+" in pin
        if not known or elsewhere or self.target.platform != "linux-x86_64" or self._is_yanked(name, pin):
            return False
        try:
            wanted = Version(pin)
        except InvalidVersion:
            return False
        return not wanted.is_prerelease and wanted < Version(known[0]) and all(Version(v) != wanted for v in known)

    def _place_of(self, needs: tuple[Need, ...]) -> Location:
        by = self.chosen.get(needs[0].by) if needs else None
        return by.place if by else Location(file="", line=None)

    def _candidates(self, name: str, specifiers: str, lines: tuple[Requirement, ...]) -> tuple[str, ...]:
        pythons = self.matrix.releases(name)
        fitting = []
        for version in known_releases(self.matrix, name):
            if not matches_version(specifiers, version) or self._is_yanked(name, version):
                continue
            if self.target.python and pythons[version] and not matches_version(pythons[version], self.target.python):
                continue
            fitting.append(version)
        return self._on_index(name, tuple(fitting), lines)

    def _is_yanked(self, name: str, version: str) -> bool:
        return bool(self.matrix.facts(name, Yanked, version))

    def _on_index(self, name: str, versions: tuple[str, ...], lines: tuple[Requirement, ...]) -> tuple[str, ...]:
        """Leave out the releases that the only index asked does not have, where the matrix knows its builds."""
        line = lines[0] if lines else None
        if name not in LABELLED or line is None:
            return versions
        label = label_of(line)
        only = line.index is not None or (line.installer == "uv" and label is not None)
        if label is None or not only or not label.startswith("cu"):
            return versions
        built = tuple(v for v in versions if self._is_built(name, v, label))
        return built or versions

    def _is_built(self, name: str, version: str, label: str) -> bool:
        """Tell whether an index has a release: torch's by its builds, its family's by the torch they are made for."""
        if name == "torch":
            return has_build(self.matrix, self.target, version, label)
        pairs = self.matrix.facts(name, PairsWith, version, self.target.platform)
        torches = [v for v in known_releases(self.matrix, "torch") if has_build(self.matrix, self.target, v, label)]
        return any(matches_version(c.versions, v) for _, c in pairs if c.package == "torch" for v in torches)

    def _newest(
        self, name: str, candidates: tuple[str, ...], needs: tuple[Need, ...], lines: tuple[Requirement, ...]
    ) -> str | None:
        fitting = [v for v in candidates if all(matches_version(n.specifier, v) for n in needs)]
        for version in fitting:
            if self._agrees(name, version):
                return self._labelled(name, version, lines)
        return self._labelled(name, fitting[0], lines) if fitting else None

    def _agrees(self, name: str, version: str) -> bool:
        """Tell whether what a release requires leaves something of what the files and others want."""
        wanted = [(c.package, c.versions) for _, c in self._claims(name, version)]
        for package, versions in (*wanted, *(pair for _, pair in self._pairs(name, version))):
            other = self.chosen.get(package)
            pin = self._pin(package) or (other.public if other and other.pinned else None)
            if pin is not None and not matches_version(versions, pin):
                return False
            limits = ",".join(r.specifier for r in self.lines.get(package, ()) if r.specifier)
            releases = self.matrix.releases(package)
            both = ",".join(s for s in (limits, versions) if s)
            if pin is None and limits and releases and not any(matches_version(both, v) for v in releases):
                return False
        return True

    def _claims(self, name: str, version: str | None) -> list[tuple[str, Requires]]:
        found = self.matrix.facts(name, Requires, version, self.target.platform, self.target.python)
        return [(fact.id, claim) for fact, claim in found if claim.declared]

    def _require(self, name: str, now: Chosen) -> list[str]:
        """Note what a chosen release requires; return the packages to choose anew."""
        changed = []
        for other, needs in self.needs.items():
            kept = [n for n in needs if n.by != name]
            if len(kept) != len(needs):
                self.needs[other] = kept
                changed.append(other)
        for fact, claim in self._claims(name, now.version):
            if is_from_conda(now) and claim.package.startswith("nvidia-"):
                continue
            self.needs.setdefault(claim.package, []).append(Need(claim.versions, name, fact))
            changed.append(claim.package)
        # torch's family states its torch as a pair, which its metadata declares.
        for fact, pair in self._pairs(name, now.version):
            self.needs.setdefault(pair[0], []).append(Need(pair[1], name, fact))
            changed.append(pair[0])
        return list(dict.fromkeys(changed))

    def _pairs(self, name: str, version: str | None) -> list[tuple[str, tuple[str, str]]]:
        found = self.matrix.facts(name, PairsWith, version, self.target.platform, self.target.python)
        return [(f.id, (c.package, c.versions)) for f, c in found if c.declared and version is not None]

    def _labelled(self, name: str, version: str, lines: tuple[Requirement, ...]) -> str:
        """Add the label of the index that the release would come from."""
        if name not in LABELLED or "+" in version:
            return version
        lines = lines or self._lines_behind(name)
        label = next((found for line in lines if (found := label_of(line))), None)
        if label is None:
            return version
        only = lines[0].index is not None or lines[0].installer == "uv"
        # Beside the default index, a labelled build wins only where there is one of that very release.
        if only or not label.startswith("cu") or name != "torch" or has_build(self.matrix, self.target, version, label):
            return f"{version}+{label}"
        return version

    def _lines_behind(self, name: str) -> tuple[Requirement, ...]:
        """Return the lines of the package that wants this one: it is fetched from their index."""
        for _ in range(_MOST_ROUNDS):
            needs = self.needs.get(name)
            if not needs:
                break
            name = needs[0].by
            if name in self.lines:
                return tuple(self.lines[name])
        return ()

    def _disagree(
        self,
        name: str,
        lines: tuple[Requirement, ...],
        needs: tuple[Need, ...],
        version: str | None,
        candidates: tuple[str, ...],
        place: Location,
        pinned: bool,
    ) -> None:
        """Note a package of which no release meets all that is required of it."""
        self.bad.pop(name, None)
        constraints = tuple(self.constraints.get(name, ()))
        stated = tuple(r for r in (*lines, *constraints) if r.specifier)
        if pinned and version is not None:
            unmet = tuple(n for n in needs if not matches_version(n.specifier, version))
            other = tuple(r for r in stated if not matches_version(r.specifier, version) and not r.url)
            if unmet or other:
                self.bad[name] = Disagreement(name=name, lines=(*lines[:1], *other), needs=unmet, place=place)
            return
        releases = self.matrix.releases(name)
        if not releases or version is not None or any(r.url for r in lines):
            return
        whole = ",".join(r.specifier for r in stated)
        if not any(matches_version(whole, v) for v in releases):
            if len(stated) > 1:
                self.bad[name] = Disagreement(name=name, lines=stated, needs=(), place=place)
        elif candidates and all(any(matches_version(n.specifier, v) for v in releases) for n in needs):
            # A release that only one of them wants and that has no wheel may be there as a source archive.
            self.bad[name] = Disagreement(name=name, lines=stated, needs=needs, place=place)

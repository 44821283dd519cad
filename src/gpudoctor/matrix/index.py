"""Look-up in the matrix: by subject and version, by library family, by consumer."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from gpudoctor.matrix.claims import Claim
from gpudoctor.matrix.tables import BaseImage, Cause, DriverBranch, WhisperModel
from gpudoctor.matrix.types import Consumer, Fact, Family, MatrixData, Provider, When
from gpudoctor.matrix.versions import driver_tuple, matches_version

if TYPE_CHECKING:
    from gpudoctor.matrix.gpus import KnownGpu

__all__ = ["Matrix", "driver_tuple", "holds", "matches_version", "stem_of"]

C = TypeVar("C", bound=Claim)

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_SONAME = re.compile(r"^(lib[A-Za-z0-9_+-]+?)(?:-[0-9a-f]{8})?\.so(?:\.|$)")


def stem_of(file_name: str) -> str | None:
    """Return the library stem of a file name: `libcudnn_ops` for `libcudnn_ops.so.9.1.0`; None for another file."""
    match = _SONAME.match(file_name)
    return match.group(1) if match else None


def _without_groups(pattern: str) -> str:
    """Make a pattern's groups non-capturing, so that the last group of a match is its family's."""
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern)


class Matrix:
    """The compiled matrix with its indexes. Immutable after construction."""

    def __init__(self, data: MatrixData) -> None:
        self.data = data
        self.version = data.version
        self.consumers: dict[str, Consumer] = {c.name: c for c in data.consumers}
        self.families: dict[str, Family] = {f.name: f for f in data.families}
        self.causes: dict[str, Cause] = {c.id: c for c in data.causes}
        self._by_id: dict[str, Fact] = {fact.id: fact for fact in data.facts}
        self._by_subject: dict[str, list[Fact]] = {}
        for fact in data.facts:
            self._by_subject.setdefault(fact.subject, []).append(fact)
        # Most patterns are plain names: those are looked up, and only the others make a regular expression.
        self._family_cache: dict[str, Family | None] = {
            name: f for f in data.families for name in f.sonames if _PLAIN.fullmatch(name)
        }

    def facts(
        self,
        subject: str,
        kind: type[C],
        version: str | None,
        platform: str | None = None,
        python: str | None = None,
    ) -> tuple[tuple[Fact, C], ...]:
        """Return the facts of one kind that hold for a subject at a version.

        Args:
            subject: Canonical package name, or `cuda`.
            kind: Claim type.
            version: Version of the subject, as its metadata has it: `2.5.1+cu118` and `2.5.1` are two builds.
            platform: Such as `linux-x86_64`; None skips the platform test.
            python: Version of the interpreter. Without it, facts for certain interpreters only are left out.

        Returns:
            Pairs of fact and its claim, in the matrix's order.
        """
        found: list[tuple[Fact, C]] = []
        for fact in self._by_subject.get(subject, ()):
            if isinstance(fact.claim, kind) and holds(fact.when, version, platform, python):
                found.append((fact, fact.claim))
        return tuple(found)

    def knows(self, subject: str) -> bool:
        """Tell whether the matrix has any fact about a subject."""
        return subject in self._by_subject

    def imports_torch(self, consumer: str, version: str | None) -> bool:
        """Tell whether a consumer's own import imports torch, where it is installed, at a version of the consumer."""
        known = self.consumers.get(consumer)
        return known is not None and any(
            first.package == "torch" and matches_version(first.versions, version) for first in known.imports_first
        )

    def fact(self, fact_id: str) -> Fact | None:
        """Return a fact by id."""
        return self._by_id.get(fact_id)

    def family_of(self, file_name: str) -> Family | None:
        """Return the family of a library by its file name or SONAME, versions ignored."""
        stem = stem_of(file_name)
        if stem is None:
            return None
        if stem not in self._family_cache:
            match = self._family_pattern.fullmatch(stem)
            self._family_cache[stem] = self.families[self._groups[match.lastgroup or ""]] if match else None
        return self._family_cache[stem]

    @cached_property
    def _groups(self) -> dict[str, str]:
        return {f"family{index}": name for index, name in enumerate(self.families)}

    @cached_property
    def _family_pattern(self) -> re.Pattern[str]:
        """One pattern for all families: compiling 40 costs more than all other work of a check on the matrix."""
        groups = []
        for group, name in self._groups.items():
            patterns = [p for p in self.families[name].sonames if not _PLAIN.fullmatch(p)]
            if patterns:
                groups.append(f"(?P<{group}>{'|'.join(_without_groups(p) for p in patterns)})")
        return re.compile("|".join(groups) or "(?!)")

    def provider(self, family: str, major: str, cuda: str | None = None) -> Provider | None:
        """Return the distribution to install for a library family at a SONAME major.

        Args:
            family: Family name.
            major: Major version in the SONAME.
            cuda: CUDA major that the consumer is built for; needed where one SONAME serves several (cuDNN).

        Returns:
            The provider; None when the matrix knows none, or several and the CUDA major does not decide.
        """
        known = self.families.get(family)
        fitting = [p for p in known.providers if p.major == major] if known else []
        if cuda is not None:
            fitting = [p for p in fitting if p.cuda in (cuda, None)]
        return fitting[0] if len(fitting) == 1 else None

    def driver_branch(self, release: str) -> DriverBranch | None:
        """Return the branch that decides what a driver release serves: its own, else the newest one before it.

        Args:
            release: Dotted driver release: `550.54.15`.

        Returns:
            The branch; None for a release that cannot be read, or one older than all that the matrix knows.
        """
        try:
            number = driver_tuple(release)[0]
        except ValueError:
            return None
        older = [branch for branch in self.data.driver_branches if int(branch.branch) <= number]
        return max(older, key=lambda branch: int(branch.branch), default=None)

    def cuda_of_driver(self, release: str) -> str | None:
        """Return the highest CUDA version that a driver release serves natively, as cuDriverGetVersion would answer.

        For a release newer than the matrix this is the least that it serves.
        """
        branch = self.driver_branch(release)
        return branch.cuda if branch else None

    def gpu(self, text: str) -> KnownGpu | None:
        """Return the GPU that a name or a compute capability means (`RTX 3090`, `rtx3090`, `8.6`); see find_gpu."""
        from gpudoctor.matrix.gpus import find_gpu

        return find_gpu(self.data.gpus, text)

    def model(self, name: str) -> WhisperModel | None:
        """Return a Whisper model by its size name or another name of it (`turbo`), None for one that is not known."""
        return next((model for model in self.data.models if name == model.name or name in model.aliases), None)

    def image(self, image: str, tag: str) -> BaseImage | None:
        """Return a container image by repository (`nvidia/cuda`) and tag, None for one that is not known."""
        return next((known for known in self.data.images if (known.image, known.tag) == (image, tag)), None)

    def releases(self, package: str) -> dict[str, str]:
        """Return a package's published releases and the Python versions of their wheels; none for an unknown one."""
        return next((known.versions for known in self.data.releases if known.package == package), {})


def holds(when: When, version: str | None, platform: str | None = None, python: str | None = None) -> bool:
    """Tell whether a fact applies; the arguments are those of Matrix.facts."""
    if when.platforms and platform is not None and platform not in when.platforms:
        return False
    if when.builds and version is not None and version.partition("+")[2] not in when.builds:
        return False
    return matches_version(when.versions, version) and matches_version(when.python, python)

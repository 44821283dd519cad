"""What the rules of lint are asked about: one environment with its plan, images and target; and how they answer."""

from __future__ import annotations

import msgspec

from gpudoctor.lint.images import ImageFacts
from gpudoctor.lint.plan import Chosen, Plan, is_build_known
from gpudoctor.lint.target import Target
from gpudoctor.lint.types import Parts
from gpudoctor.matrix.claims import HasGpuCode, NeedsLibrary
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Fact
from gpudoctor.model.finding import Confidence, Evaluation, Evidence, Fail, Finding, Fix, Level, Location, Subject
from gpudoctor.rules.base import Rule


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One environment to judge.

    Attributes:
        parts: What the files say.
        plan: What would be installed.
        images: What is known of the base images.
        target: The machine.
        matrix: The facts.
    """

    parts: Parts
    plan: Plan
    images: tuple[ImageFacts, ...]
    target: Target
    matrix: Matrix

    @property
    def is_closed(self) -> bool:
        """Tell whether the files say everything: they build on known images, and what starts the program was read."""
        return bool(self.images) and all(i.known for i in self.images) and not self.parts.unread_starts

    def code(self, chosen: Chosen) -> tuple[Fact, HasGpuCode] | None:
        """Return the fact on the GPU code of a wheel at its release; of a build from elsewhere, none is known."""
        if chosen.version is None or not is_build_known(chosen):
            return None
        known = self.matrix.facts(chosen.name, HasGpuCode, chosen.version, self.target.platform)
        return known[0] if known else None

    def libraries(self, chosen: Chosen) -> tuple[tuple[Fact, NeedsLibrary], ...]:
        """Return the facts on what a package opens at its release."""
        if chosen.version is None or not is_build_known(chosen):
            return ()
        return self.matrix.facts(chosen.name, NeedsLibrary, chosen.version, self.target.platform)

    def cuda(self, chosen: Chosen) -> str | None:
        """Return the CUDA release that a package is built for; None for none, or where nobody knows."""
        known = self.code(chosen)
        if known is None or known[1].cuda is None:
            return cuda_of_label(chosen.version)
        # A label of the index says which build it is, whichever fact covers the release.
        return cuda_of_label(chosen.version) or known[1].cuda


def cuda_of_label(version: str | None) -> str | None:
    """Return the CUDA release of a build label: `12.4` for `2.5.1+cu124`."""
    label = (version or "").partition("+")[2]
    digits = label.removeprefix("cu")
    return f"{digits[:-1]}.{digits[-1]}" if label.startswith("cu") and digits.isdigit() and len(digits) > 1 else None


def say(
    rule: Rule,
    subject: Subject,
    message: str,
    place: Location | None,
    *,
    cause: str | None,
    level: Level | None = None,
    confidence: Confidence = "table",
    evidence: tuple[tuple[str, str | None], ...] = (),
    facts: tuple[str, ...] = (),
    consequences: tuple[str, ...] = (),
    fixes: tuple[Fix, ...] = (),
    reason: str | None = None,
) -> Evaluation:
    """Return a failed evaluation of a rule, with its place."""
    failed = rule.fail(
        subject,
        message,
        cause=cause,
        confidence=confidence,
        level=level,
        evidence=tuple(Evidence(label=name, value=value) for name, value in evidence if value),
        facts=facts,
        consequences=consequences,
        fixes=fixes,
        reason=reason,
    )
    return Fail(placed(failed.finding, place))


def placed(finding: Finding, place: Location | None) -> Finding:
    """Return a finding with its place; a place without a file is none."""
    return msgspec.structs.replace(finding, location=place if place and place.file else None)


def package(chosen: Chosen | str) -> Subject:
    """Return the subject of a finding on a package."""
    return Subject(kind="distribution", name=chosen if isinstance(chosen, str) else chosen.name)


def edit(title: str, *commands: str) -> Fix:
    """Return a way out that edits a file: nothing that lint, which changes nothing, could do."""
    return Fix(title=title, applicability="display-only", commands=commands)


def who(scene: Scene, name: str) -> str:
    """Return a package as people name it: with its version, where it is known."""
    chosen = scene.plan.packages.get(name)
    return chosen.titled if chosen else name


def line_of(chosen: Chosen) -> str:
    """Return what the files say of a package, as evidence: `requirements.txt:3 torch==2.5.1`."""
    if not chosen.lines:
        by = ", ".join(dict.fromkeys(n.by for n in chosen.needs))
        return f"required by {by}" if by else "not named"
    line = chosen.lines[0]
    where = f"{line.place.file}:{line.place.line}" if line.place.line else line.place.file
    return f"{where} {line.name}{line.specifier}"

"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Confidence, Evaluation, Evidence, Fail, Finding, Fix, Level, Subject
from gpudoctor.model.snapshot import Snapshot

Evaluate = Callable[[Snapshot, Matrix], tuple[Evaluation, ...]]


class Rule(msgspec.Struct, frozen=True):
    """One rule of the registry.

    Attributes:
        id: `GPD201`; never reused.
        name: Kebab-case, names the fault.
        title: One line.
        level: Level of its findings, unless a finding says otherwise.
        causes: Cause ids it can name.
        page: Markdown that explains the rule: what, why, how it is known, what to do, sources.
        evaluate: Judges a snapshot. Returns at least one evaluation; raises nothing for any decodable snapshot.
        required: Whether `--strict` fails when it is open.
    """

    id: str
    name: str
    title: str
    level: Level
    causes: tuple[str, ...]
    page: str
    evaluate: Evaluate
    required: bool = True

    def fail(
        self,
        subject: Subject,
        message: str,
        *,
        cause: str | None,
        confidence: Confidence = "read",
        level: Level | None = None,
        evidence: tuple[Evidence, ...] = (),
        facts: tuple[str, ...] = (),
        consequences: tuple[str, ...] = (),
        fixes: tuple[Fix, ...] = (),
        reason: str | None = None,
    ) -> Fail:
        """Return a failed evaluation with this rule's identity filled in."""
        return Fail(
            Finding(
                rule=self.id,
                name=self.name,
                level=level or self.level,
                confidence=confidence,
                cause=cause,
                reason=reason,
                subject=subject,
                message=message,
                evidence=evidence,
                facts=facts,
                consequences=consequences,
                fixes=fixes,
                help=f"gpudoctor rule {self.id}",
            )
        )

"""Joining a log's candidates with what the rules say of a machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from gpudoctor.model.explanation import Explanation, RankedCause
from gpudoctor.model.finding import Fail, Finding, Open, Pass
from gpudoctor.rules.engine import Verdict

_CONFIRMED = 0.98
_EXCLUDED = 0.35
_OWN_COMMANDS = ("gpudoctor libs -v", "gpudoctor fix", "gpudoctor check")


def decide(explanation: Explanation, verdict: Verdict, place: str, python: str | None = None) -> Explanation:
    """Return an explanation whose causes the rules have confirmed or made unlikely.

    Args:
        explanation: What the log says.
        verdict: What the rules say.
        place: What they judged: `this machine`, or a snapshot file.
        python: Interpreter that was judged on this machine, for commands to be copied.
    """
    findings = [e.finding for answers in verdict.evaluations.values() for e in answers if isinstance(e, Fail)]
    option = f" --python {shlex.quote(python)}" if python else ""
    joined = [_aimed(_join(cause, findings, verdict, place), option) for cause in explanation.causes]
    order = sorted(joined, key=lambda cause: (-cause.confidence, cause.line or 0))
    return msgspec.structs.replace(
        explanation,
        causes=tuple(order),
        decided_by=place,
        advice=_advice(explanation, order, findings, place, option),
    )


def _join(cause: RankedCause, findings: Sequence[Finding], verdict: Verdict, place: str) -> RankedCause:
    found = next((f for f in findings if f.cause == cause.cause and f.level != "note"), None) or next(
        (f for f in findings if f.cause == cause.cause), None
    )
    if found is not None:
        return msgspec.structs.replace(
            cause,
            confidence=max(cause.confidence, _CONFIRMED),
            decided=f"{found.rule} finds it on {place}: {found.message}",
            fixes=found.fixes or cause.fixes,
            rules=(found.rule, *(r for r in cause.rules if r != found.rule)),
        )
    answers = {rule: verdict.evaluations[rule] for rule in cause.rules if rule in verdict.evaluations}
    waiting = [e.reason for given in answers.values() for e in given if isinstance(e, Open)]
    if waiting:
        return msgspec.structs.replace(cause, decided=f"could not be judged on {place}: {waiting[0]}")
    passed = [rule for rule, given in answers.items() if any(isinstance(e, Pass) for e in given)]
    if passed:
        return msgspec.structs.replace(
            cause,
            confidence=round(cause.confidence * _EXCLUDED, 2),
            decided=f"{', '.join(passed)} looked and found nothing of it on {place}",
        )
    return msgspec.structs.replace(cause, decided=f"no rule can tell on {place}")


def _aimed(cause: RankedCause, option: str) -> RankedCause:
    """Return a cause whose commands of gpudoctor's own name the interpreter that was judged."""
    fixes = (
        msgspec.structs.replace(fix, commands=tuple(c + option if c in _OWN_COMMANDS else c for c in fix.commands))
        for fix in cause.fixes
    )
    return msgspec.structs.replace(cause, fixes=tuple(fixes))


def _advice(
    explanation: Explanation, order: Sequence[RankedCause], findings: Sequence[Finding], place: str, option: str
) -> str | None:
    named = {cause.cause for cause in order}
    others = sorted({f"{f.rule} ({f.cause})" for f in findings if f.level == "error" and f.cause not in named})
    also = f"The rules also find on {place}: {', '.join(others)}; see `gpudoctor check{option}`." if others else None
    if not order:
        return " ".join(text for text in (explanation.advice, also) if text) or None
    decided = any(cause.confidence >= _CONFIRMED and (cause.decided or "").startswith("GPD") for cause in order)
    if explanation.advice and not decided:
        return " ".join(text for text in (f"The rules did not decide it on {place}.", also) if text)
    return also

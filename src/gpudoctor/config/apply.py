"""Verdict + settings -> verdict: what the project set aside goes aside, with the reason. Nothing is dropped."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

import msgspec

from gpudoctor.config.lines import line_of_rule
from gpudoctor.config.rules import EXPIRED_IGNORE, NO_CAUSE, UNUSED_IGNORE
from gpudoctor.config.types import Config, Ignore
from gpudoctor.model.finding import Evidence, Fail, Finding, Fix, Ignored, Location, Open, Subject
from gpudoctor.rules.base import Rule
from gpudoctor.rules.engine import Verdict, is_selected, sort_findings


def apply_config(
    config: Config,
    verdict: Verdict,
    *,
    today: datetime.date,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    partial: bool = False,
    files: Sequence[str] | None = None,
) -> Verdict:
    """Set aside the findings that a project ignores; add one for each ignore that is unused or expired.

    Args:
        config: The project's settings.
        verdict: What the rules answered, a deep check included.
        today: The date, UTC.
        select: Rules that the command line names: one that it names in full is not ignored.
        ignore: Rules that the command line leaves out.
        partial: Only some consumers were judged, so that an ignore without a finding is not thereby unused.
        files: The files that were judged; None where an environment was. Others hold what an entry without a file may
            be for, so that only one that names a judged file can be called unused.

    Returns:
        The verdict, with the settings' file and all that was set aside.
    """
    entries = tuple(e for e in config.settled.ignore if not _is_wanted(e, verdict, select))
    kept: list[Finding] = []
    aside: list[Ignored] = []
    for finding in verdict.findings:
        entry = next((e for e in entries if not _is_over(e, today) and _matches(e, finding)), None)
        if entry is None:
            kept.append(finding)
        else:
            aside.append(_ignored(config, entry, finding))
    judged = () if partial else tuple(e for e in entries if _was_judged(e, verdict, files))
    own = _about_entries(config, verdict, entries, today, judged)
    return msgspec.structs.replace(
        verdict,
        findings=sort_findings((*kept, *(f for f in own if is_selected(f, select, ignore)))),
        config=config.file,
        ignored=tuple(aside),
    )


def _is_wanted(entry: Ignore, verdict: Verdict, select: Sequence[str]) -> bool:
    """Tell whether the command line asks for the very rule that an entry ignores."""
    names = {name.strip().lower() for name in select}
    rules = {(f.rule.lower(), f.name) for f in _all_findings(verdict)}
    return any(names & {rule, name} and entry.rule.lower() in (rule, name) for rule, name in rules)


def _is_over(entry: Ignore, today: datetime.date) -> bool:
    return entry.until is not None and entry.until < today


def _matches(entry: Ignore, finding: Finding) -> bool:
    if entry.rule.lower() not in (finding.rule.lower(), finding.name):
        return False
    if entry.subject is not None and entry.subject != finding.subject.name:
        return False
    if entry.file is None:
        return True
    return finding.location is not None and _is_end(entry.file, finding.location.file)


def _is_end(wanted: str, path: str) -> bool:
    """Tell whether a path is the one named, or ends in it, in whole names."""
    return f"/{path.removeprefix('./')}".endswith(f"/{wanted.removeprefix('./').lstrip('/')}")


def _ignored(config: Config, entry: Ignore, finding: Finding) -> Ignored:
    until = entry.until.isoformat() if entry.until else None
    return Ignored(finding=finding, reason=entry.reason, until=until, by=_place(config, entry))


def _place(config: Config, entry: Ignore) -> Location:
    before = config.settled.ignore[: _index(config, entry)]
    number = sum(e.rule == entry.rule for e in before)
    return Location(file=config.file, line=line_of_rule(config.text, entry.rule, number))


def _index(config: Config, entry: Ignore) -> int:
    return next(i for i, e in enumerate(config.settled.ignore) if e is entry)


def _all_findings(verdict: Verdict) -> Iterable[Finding]:
    """Yield the headlines, and what was folded under them."""
    yield from verdict.findings
    for answers in verdict.evaluations.values():
        for answer in answers:
            if isinstance(answer, Fail):
                yield answer.finding


def _about_entries(
    config: Config, verdict: Verdict, entries: tuple[Ignore, ...], today: datetime.date, known: tuple[Ignore, ...]
) -> Iterable[Finding]:
    for entry in entries:
        used = any(_matches(entry, f) for f in _all_findings(verdict))
        judged = any(entry is one for one in known)
        if _is_over(entry, today):
            yield _expired(config, entry, used, judged)
        elif not used and judged:
            yield _unused(config, entry)


def _was_judged(entry: Ignore, verdict: Verdict, files: Sequence[str] | None) -> bool:
    """Tell whether the entry's rule ran and could judge, on the file that it names."""
    if files is None and entry.file is not None:
        files = [f.location.file for f in _all_findings(verdict) if f.location is not None]
    if files is not None and not (entry.file and any(_is_end(entry.file, f) for f in files)):
        return False  # nothing tells whether that file was judged, or which other one the entry is for
    rule = _rule_id(entry, verdict)
    answers = verdict.evaluations.get(rule, ())
    # Files in which a rule has nothing to look at were judged: it answers nothing. Of an environment, it says so.
    ran = bool(answers) if files is None else rule in verdict.evaluations
    return ran and not any(isinstance(a, Open) for a in answers)


def _rule_id(entry: Ignore, verdict: Verdict) -> str:
    """Return an entry's rule as an id; a name is looked up among the findings, else in the registry."""
    wanted = entry.rule
    if wanted.upper() in verdict.evaluations:
        return wanted.upper()
    from gpudoctor.rules.registry import find_rule

    found = find_rule(wanted)
    return found.id if found else wanted.upper()


def _expired(config: Config, entry: Ignore, used: bool, judged: bool) -> Finding:
    until = entry.until.isoformat() if entry.until else ""
    gone = "and there is nothing left that it would ignore" if judged else "it sets nothing aside any more"
    then = "what it set aside counts again" if used else gone
    message = f"The ignore of {_named(entry)} held until {until}: {then}."
    again = "move the date, with a fresh reason"
    title = (
        f"Repair what the finding says, or {again}" if used else f"Remove the entry{'' if judged else f', or {again}'}"
    )
    return _finding(EXPIRED_IGNORE, config, entry, message, title)


def _unused(config: Config, entry: Ignore) -> Finding:
    message = f"The ignore of {_named(entry)} matches no finding."
    return _finding(UNUSED_IGNORE, config, entry, message, "Remove the entry, or correct its rule, subject or file")


def _named(entry: Ignore) -> str:
    about = f" for {entry.subject}" if entry.subject else ""
    return f"{entry.rule}{about}{f' in {entry.file}' if entry.file else ''}"


def _finding(rule: Rule, config: Config, entry: Ignore, message: str, title: str) -> Finding:
    place = _place(config, entry)
    where = f"{place.file}, line {place.line}" if place.line else place.file
    found = rule.fail(
        Subject(kind="target", name=f"ignore {entry.rule}"),
        message,
        cause=None,
        reason=NO_CAUSE,
        evidence=(Evidence(label="settled in", value=where), Evidence(label="reason", value=entry.reason)),
        fixes=(Fix(title=title, applicability="display-only"),),
    ).finding
    return msgspec.structs.replace(found, location=place)

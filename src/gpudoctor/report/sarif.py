"""Reports as SARIF 2.1.0, for GitHub code scanning and every viewer of that format.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0 with Errata 01
(https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/, read 2026-11-21); GitHub, "SARIF support for code
scanning" (https://docs.github.com/en/code-security/code-scanning, read 2026-11-21).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from gpudoctor.model.finding import Finding, Fix, OpenQuestion, Report
from gpudoctor.report.details import details, properties, shown, why_ignored
from gpudoctor.report.places import Places, uri_of
from gpudoctor.rules.base import Rule

Json = dict[str, Any]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://github.com/gpudoctor/gpudoctor"
_SECTION = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)


def render_sarif(report: Report, rules: Sequence[Rule], places: Places, *, command: str) -> str:
    """Return a report as one SARIF log.

    Args:
        report: The report.
        rules: All rules there are; the ones that the report names are described in the log.
        places: Where findings are shown.
        command: Whose report it is: `check` or `lint`. It keeps the two apart in one repository's code scanning.
    """
    named = dict.fromkeys((*(f.rule for f in report.findings), *(q.rule for q in report.open)))
    described = [rule for rule in rules if rule.id in named]
    index = {rule.id: number for number, rule in enumerate(described)}
    seen: Counter[str] = Counter()
    results = [_failed(finding, places, index, seen) for finding in report.findings]
    results += [_open(question, places, index, seen) for question in report.open]
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(report, described)},
                "automationDetails": {"id": f"gpudoctor-{command}/"},
                "invocations": [_invocation(report)],
                "results": results,
                "columnKind": "unicodeCodePoints",
                "properties": _numbers(report, command),
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=1).decode() + "\n"


def _driver(report: Report, rules: Sequence[Rule]) -> Json:
    return {
        "name": report.tool.name,
        "version": shown(report.tool.version),
        "informationUri": HOME,
        "properties": {"matrixVersion": shown(report.matrix_version)},
        "rules": [_described(rule) for rule in rules],
    }


def _described(rule: Rule) -> Json:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": _first_section(rule.page) or f"{rule.title}."},
        "help": {"text": rule.page.strip(), "markdown": rule.page.strip()},
        "helpUri": f"{HOME}/blob/main/compat/rules/{rule.id}-{rule.name}.md",
        "defaultConfiguration": {"level": rule.level},
        "properties": {"tags": ["gpu", "cuda"], "precision": "high", "problem.severity": _severity(rule.level)},
    }


def _severity(level: str) -> str:
    return "recommendation" if level == "note" else level


def _first_section(page: str) -> str:
    parts = _SECTION.split(page)
    return " ".join(parts[2].split()) if len(parts) > 2 else ""


def _invocation(report: Report) -> Json:
    return {
        "executionSuccessful": True,
        "exitCode": report.summary.exit_status,
        "exitCodeDescription": {
            0: "nothing at or above the level that fails",
            1: "findings at or above the level that fails",
            3: "something could not be judged, and --strict was given",
        }.get(report.summary.exit_status, "unknown"),
    }


def _numbers(report: Report, command: str) -> Json:
    known: Json = dict(properties(report, command))
    for name in ("errors", "warnings", "notes", "open", "ignored", "exit_status"):
        known[name] = int(known[name])
    # No suppressed results: GitHub does not know `suppressions` and would open an alert for each.
    known["ignoredFindings"] = [
        {"rule": item.finding.rule, "message": shown(item.finding.message), "because": why_ignored(item)}
        for item in report.ignored
    ]
    return known


def _failed(finding: Finding, places: Places, index: dict[str, int], seen: Counter[str]) -> Json:
    result = _result(finding.rule, index)
    result.update(
        kind="fail",
        level=finding.level,
        message={"text": _literal("\n".join((shown(finding.message), *_ways_out(finding.fixes))))},
        locations=[_location(places, finding)],
        partialFingerprints=_fingerprints(
            seen,
            finding.rule,
            finding.cause or "",
            finding.subject.kind,
            finding.subject.name,
            finding.location.file if finding.location else "",
        ),
        properties=_about(finding),
    )
    return result


def _open(question: OpenQuestion, places: Places, index: dict[str, int], seen: Counter[str]) -> Json:
    result = _result(question.rule, index)
    result.update(
        kind="open",
        level="none",
        message={"text": _literal(f"Not judged: {shown(question.reason)}")},
        locations=[_location(places, None)],
        partialFingerprints=_fingerprints(seen, question.rule, "open", question.reason),
    )
    return result


def _result(rule: str, index: dict[str, int]) -> Json:
    return {"ruleId": rule, "ruleIndex": index[rule]} if rule in index else {"ruleId": rule}


def _ways_out(fixes: Sequence[Fix]) -> list[str]:
    lines = []
    for fix in fixes:
        lines.append(f"Do: {shown(fix.title)}")
        lines += [f"    {shown(command)}" for command in fix.commands]
    return lines


def _literal(text: str) -> str:
    """Return text in which no viewer sees a placeholder or a link.

    Source: SARIF 2.1.0, sections 3.11.5 (braces are doubled) and 3.11.6 (brackets and backslashes are escaped).
    """
    text = text.replace("{", "{{").replace("}", "}}")
    return re.sub(r"[\\\[\]]", r"\\\g<0>", text) if "](" in text else text


def _location(places: Places, finding: Finding | None) -> Json:
    known: Json = {}
    place = places.of(finding)
    if place is not None:
        known["physicalLocation"] = {
            "artifactLocation": {"uri": uri_of(place.file)},
            "region": {"startLine": place.line or 1},
        }
    kind, name = (finding.subject.kind, finding.subject.name) if finding else ("target", "target")
    known["logicalLocations"] = [
        {"name": shown(name, 500), "kind": kind, "fullyQualifiedName": f"{kind}/{shown(name, 500)}"}
    ]
    return known


def _fingerprints(seen: Counter[str], *identity: str) -> dict[str, str]:
    """Return what makes a result the same one in the next run: its rule, cause and subject, never a line or a path.

    Without `primaryLocationLineHash` GitHub would hash the anchor's line, and all results there would be one.
    """
    raw = "\0".join(identity)
    seen[raw] += 1
    digest = hashlib.sha256(f"{raw}\0{seen[raw]}".encode("utf-8", "surrogatepass")).hexdigest()
    return {"primaryLocationLineHash": f"{digest[:16]}:1", "gpudoctorFinding/v1": digest}


def _about(finding: Finding) -> Json:
    known: Json = {
        "subject": {"kind": finding.subject.kind, "name": shown(finding.subject.name)},
        "confidence": finding.confidence,
        "cause": finding.cause,
        "evidence": [{"label": shown(d.label), "value": shown(d.value)} for d in details(finding)],
        "fixes": [
            {"title": shown(f.title), "applicability": f.applicability, "commands": [shown(c) for c in f.commands]}
            for f in finding.fixes
        ],
        "help": finding.help,
    }
    if finding.reason:
        known["reason"] = shown(finding.reason)
    return known

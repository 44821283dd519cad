"""Reports as JUnit XML, as Jenkins, GitLab and most CI systems read it.

Source: the schema that Jenkins' xUnit plugin validates with, junit-10.xsd
(https://github.com/jenkinsci/xunit-plugin, read 2026-11-21).
"""

from __future__ import annotations

from collections import Counter
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from gpudoctor.model.finding import Finding, Report
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.areas import summarize
from gpudoctor.report.build import FAILING
from gpudoctor.report.details import judged, place_of, plain_lines, properties, shown, why_ignored


def render_junit(report: Report, snapshot: Snapshot | None, *, command: str, fail_on: str) -> str:
    """Return a report as one JUnit document.

    A finding that makes the exit status 1 is a failure; one below that level is a test that passed with output; an open
    question is skipped. What is fine is a test that passed, for a CI system takes a file without tests as an error.

    Args:
        report: The report.
        snapshot: What was judged, where there is one.
        command: Whose report it is.
        fail_on: Least level that failed: `error`, `warning` or `never`.
    """
    failing = FAILING[fail_on]
    cases = _Cases()
    for finding in report.findings:
        _finding(cases.add(f"gpudoctor.{finding.rule}", _name(finding)), finding, failing)
    for question in report.open:
        case = cases.add(f"gpudoctor.{question.rule}", "not judged")
        SubElement(case, "skipped", message=shown(question.reason))
    for item in report.ignored:
        case = cases.add(f"gpudoctor.{item.finding.rule}", _name(item.finding))
        SubElement(case, "skipped", message=f"ignored: {why_ignored(item)}")
    for name, text in _fine(report, snapshot):
        SubElement(cases.add("gpudoctor.fine", name), "system-out").text = text
    return _document(report, command, cases.elements, sum(f.level in failing for f in report.findings))


class _Cases:
    """Test cases with names that are unique within their class, for Jenkins shows one history for each name."""

    def __init__(self) -> None:
        self.elements: list[Element] = []
        self._seen: Counter[tuple[str, str]] = Counter()

    def add(self, classname: str, name: str) -> Element:
        self._seen[classname, name] += 1
        number = self._seen[classname, name]
        unique = name if number == 1 else f"{name} ({number})"
        case = Element("testcase", name=unique, classname=classname, time="0")
        self.elements.append(case)
        return case


def _name(finding: Finding) -> str:
    cause = f", {finding.cause}" if finding.cause else ""
    return f"{finding.name}: {finding.subject.kind} {shown(finding.subject.name, 200)}{shown(cause, 200)}"


def _finding(case: Element, finding: Finding, failing: tuple[str, ...]) -> None:
    place = place_of(finding)
    message = f"{place}: {shown(finding.message)}" if place else shown(finding.message)
    body = "\n".join((message, *plain_lines(finding)))
    if finding.level in failing:
        failure = SubElement(case, "failure", type=finding.level, message=message)
        failure.text = body
    else:
        SubElement(case, "system-out").text = f"{finding.level}: {body}"


def _fine(report: Report, snapshot: Snapshot | None) -> list[tuple[str, str]]:
    if snapshot is not None:
        areas = summarize(report, snapshot)
        fine = [(shown(a.name), shown(a.text)) for a in areas if a.verdict in ("ok", "skip")]
        if fine:
            return fine
    return [] if report.findings or report.open else [(judged(report), "nothing found")]


def _document(report: Report, command: str, cases: list[Element], failures: int) -> str:
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0"}
    root = Element("testsuites", {"name": "gpudoctor", **counts})
    suite = SubElement(
        root,
        "testsuite",
        {
            "name": f"gpudoctor {command}: {judged(report)}",
            **counts,
            "skipped": str(len(report.open) + len(report.ignored)),
            "time": "0",
        },
    )
    known = SubElement(suite, "properties")
    for name, value in properties(report, command).items():
        SubElement(known, "property", name=name, value=value)
    suite.extend(cases)
    indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"

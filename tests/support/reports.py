"""Reports to render: a real one, and ones whose every text tries to break out of the format."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present
from gpudoctor.model.finding import (
    Evidence,
    Finding,
    Fix,
    Ignored,
    Location,
    OpenQuestion,
    Report,
    Subject,
    Summary,
    Target,
    Tool,
)
from gpudoctor.model.loading import Resolution, SearchStep
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.build import build_report
from gpudoctor.rules.engine import judge
from unit.rules.builders import machine

ENVIRONMENTS = Path(__file__).parents[1] / "environments"
SCHEMAS = Path(__file__).parent / "schemas"

# Each is what somebody can name a folder, a package, a variable or a log line.
HOSTILE = {
    "plain": "libcudnn_ops.so.9",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><!-- </style><style>*{display:none}",
    "end of cdata": "]]> <![CDATA[ &amp; &#0; &notanentity;",
    "terminal": "\x1b[31mred\x1b[0m\x1b]0;owned\x07\x9b2J",
    "workflow command": "::error file=x::owned\n::set-output name=a::b\n::stop-commands::t\n##[add-path]/tmp/evil",
    "percent": "100%0A::error::owned%0D%3A%2C",
    "newlines": "one\r\ntwo\n\n# three\u2028four\u2029five\x85six\x0bseven",
    "right to left": "\u202egnp.exe\u2066\u200bhidden\ufeff",
    "nul": "a\x00b\x01\x08\x0e\x1f\x7f",
    "no characters": "\ufffe\uffff\U0001fffe",
    "lone surrogates": "bad\udce9byte\ud800\udfff",
    "markdown": "| a | `code` ``x`` *b* _c_ __d__ ~~e~~ [f](javascript:alert(1)) ![g](https://evil.example/p.png) <b>",
    "markdown block": "# heading\n- item\n> quote\n```\nfence\n~~~\n    code\n---\n1. one",
    "mention": "@torvalds #1 GH-1 owner/repo#2 me@evil.example https://evil.example www.evil.example",
    "template": "{0} {{x}} ${{ secrets.TOKEN }} $(id) `id` %n %s {% x %}",
    "sarif link": "[click](1) [x](https://evil.example) \\[not] {1}",
    "markup of rich": "[red]x[/red] [link=https://evil.example]y[/link] :smile:",
    "only blanks": "   ",
    "empty": "",
    "backticks": "`",
    "huge": "A" * 1_000_000 + "<script>]]>::error::x",
    "huge without end": "\x1b" * 1_000_000,
}


def real(slug: str = "recorded-torch-251-ct2-460") -> tuple[Report, Snapshot]:
    """Return the report of a recorded machine."""
    snapshot = msgspec.json.decode((ENVIRONMENTS / slug / "snapshot.json").read_bytes(), type=Snapshot)
    matrix = load_matrix()
    return build_report(judge(snapshot, matrix), snapshot, matrix, fail_on="error", strict=False), snapshot


def finding(text: str, level: str = "error", **changes: object) -> Finding:
    """Return a finding whose every free text is the given one."""
    usual = Finding(
        rule="GPD201",
        name="unresolved-library",
        level=level,  # type: ignore[arg-type]
        confidence="read",
        cause=None,
        reason=text,
        subject=Subject(kind="consumer", name=text),
        message=text,
        evidence=(Evidence(label=text, value=text), Evidence(label="searched", value=text)),
        facts=(text,),
        consequences=(text,),
        fixes=(Fix(title=text, applicability="safe", commands=(text, "true")),),
        help="gpudoctor rule GPD201",
    )
    return msgspec.structs.replace(usual, **changes)


def hostile(text: str) -> tuple[Report, Snapshot]:
    """Return a report and a snapshot in which the text stands everywhere."""
    findings = (
        finding(text),
        finding(text, "warning", location=Location(file=text or "x", line=3)),
        finding(text, "note", rule="GPD999", name="not-in-the-registry"),
    )
    report = Report(
        schema_version=1,
        tool=Tool(name="gpudoctor", version="0.1.0"),
        matrix_version=text,
        target=Target(python=text, python_version=text),
        findings=findings,
        open=(OpenQuestion(rule="GPD101", reason=text), OpenQuestion(rule="GPD101", reason=text)),
        summary=Summary(errors=1, warnings=1, notes=1, open=2, exit_status=1),
        config=text,
        ignored=(Ignored(finding=finding(text), reason=text, until="2027-01-31", by=Location(file=text, line=1)),),
    )
    return report, _hostile_snapshot(text)


def _hostile_snapshot(text: str) -> Snapshot:
    usual = Resolution(
        consumer=text,
        scenario="alone",
        requester=text,
        soname=text,
        names=(text,),
        family="cudnn",
        role="cudnn",
        link="dlopen",
        when=text,
        outcome="present",
        path=f"/{text}",
        found_via="rpath",
        shadowed=text,
    )
    lost = msgspec.structs.replace(
        usual,
        outcome="absent",
        path=None,
        found_via=None,
        reason=text,
        searched=(SearchStep(rule=text, path=text, result=text),),
    )
    healthy = machine()
    driver = msgspec.structs.replace(healthy.driver, release=Present(text))
    return msgspec.structs.replace(healthy, driver=driver, resolutions=(usual, lost))


def schema(name: str) -> dict[str, object]:
    """Return a vendored JSON schema."""
    return json.loads((SCHEMAS / name).read_text())  # type: ignore[no-any-return]

"""Verdict -> the report document: counts, exit status, target."""

from __future__ import annotations

from gpudoctor import __version__
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import value_of
from gpudoctor.model.finding import REPORT_SCHEMA_VERSION, Level, OpenQuestion, Report, Summary, Target, Tool
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import Verdict
from gpudoctor.rules.registry import RULES
from gpudoctor.system.protocol import encodable

EXIT_FINDINGS = 1
EXIT_OPEN = 3

FAILING: dict[str, tuple[Level, ...]] = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
"""Levels that give exit status 1, by --fail-on."""


def build_report(
    verdict: Verdict,
    snapshot: Snapshot | None,
    matrix: Matrix,
    *,
    fail_on: str,
    strict: bool,
    binary: str | None = None,
    python_version: str | None = None,
    files: tuple[str, ...] = (),
) -> Report:
    """Return the report of a verdict.

    Args:
        verdict: What the rules answered.
        snapshot: What they judged; None for files (`lint`).
        matrix: By which facts.
        fail_on: `error`, `warning` or `never`: least level that gives exit status 1.
        strict: Give exit status 3 when a required rule was open.
        binary: The native program judged, if one was.
        python_version: The Python that files were judged for.
        files: The files that were judged.
    """
    counts = {level: sum(f.level == level for f in verdict.findings) for level in ("error", "warning", "note")}
    status = 0
    if any(f.level in FAILING[fail_on] for f in verdict.findings):
        status = EXIT_FINDINGS
    elif strict and verdict.required_open:
        status = EXIT_OPEN
    interpreter = value_of(snapshot.interpreter) if snapshot else None
    return Report(
        schema_version=REPORT_SCHEMA_VERSION,
        tool=Tool(name="gpudoctor", version=__version__),
        matrix_version=matrix.version,
        target=Target(
            python=interpreter.executable if interpreter else None,
            python_version=value_of(interpreter.version) if interpreter else python_version,
            binary=encodable(binary) if binary else None,
            files=tuple(encodable(file) for file in files),
        ),
        findings=verdict.findings,
        open=tuple(OpenQuestion(rule=q.rule, reason=q.reason) for q in verdict.open),
        summary=Summary(
            errors=counts["error"],
            warnings=counts["warning"],
            notes=counts["note"],
            open=len(verdict.open),
            exit_status=status,
        ),
        config=verdict.config,
        ignored=verdict.ignored,
        not_asked=tuple(r.id for r in RULES if r.id not in verdict.evaluations) if snapshot else (),
    )

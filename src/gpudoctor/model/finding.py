"""What a rule answers, and the document that `check --format json` prints."""

from __future__ import annotations

from typing import Literal, Union

import msgspec

from gpudoctor.model.base import Frozen

REPORT_SCHEMA_VERSION = 1

Level = Literal["error", "warning", "note"]
Confidence = Literal["proved", "read", "table"]
Applicability = Literal["safe", "unsafe", "display-only"]


class Subject(Frozen, frozen=True, kw_only=True):
    """What a finding is about.

    Attributes:
        kind: `consumer`, `driver`, `gpu`, `distribution`, `variable`, `library`, `host` or `target`.
        name: Its name.
    """

    kind: Literal["consumer", "driver", "gpu", "distribution", "variable", "library", "host", "target"]
    name: str


class Evidence(Frozen, frozen=True, kw_only=True):
    """One observation that a finding rests on.

    Attributes:
        label: What it is (`searched`, `found`, `wanted`, `file`).
        value: The observation.
    """

    label: str
    value: str


class Fix(Frozen, frozen=True, kw_only=True):
    """A way out.

    Attributes:
        title: One imperative sentence.
        applicability: `safe` may be applied without thought; `display-only` needs root, a reboot or a decision.
        commands: What to type, in order.
    """

    title: str
    applicability: Applicability
    commands: tuple[str, ...] = ()


class Location(Frozen, frozen=True, kw_only=True):
    """A place in a file that was judged.

    Attributes:
        file: Path as the user named it.
        line: Line, from 1; None for the file as a whole.
    """

    file: str
    line: int | None = None


class Finding(Frozen, frozen=True, kw_only=True):
    """One fault, in the contract's shape.

    Attributes:
        rule: Rule id.
        name: The rule's name, which names the fault.
        level: How bad.
        confidence: How it is known.
        cause: Cause id; None with `reason` where no cause of the taxonomy fits.
        reason: Why there is no cause id.
        subject: What it is about.
        message: One sentence a user understands.
        evidence: What it rests on.
        facts: Ids of the matrix facts used.
        consequences: What follows from this one cause.
        fixes: Ways out, best first.
        help: Command that prints the rule's page.
        location: Where in a file it stands; None for what is no file's.
    """

    rule: str
    name: str
    level: Level
    confidence: Confidence
    cause: str | None
    subject: Subject
    message: str
    evidence: tuple[Evidence, ...] = ()
    facts: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
    help: str = ""
    reason: str | None = None
    location: Location | None = None


class Pass(msgspec.Struct, frozen=True, tag="pass", tag_field="kind"):
    """The rule looked and found nothing wrong.

    Attributes:
        subject: Name of what was judged.
    """

    subject: str = ""


class Fail(msgspec.Struct, frozen=True, tag="fail", tag_field="kind"):
    """The rule found a fault.

    Attributes:
        finding: The fault.
    """

    finding: Finding


class NotApplicable(msgspec.Struct, frozen=True, tag="not-applicable", tag_field="kind"):
    """There is nothing here for the rule to judge.

    Attributes:
        reason: Why.
    """

    reason: str


class Open(msgspec.Struct, frozen=True, tag="open", tag_field="kind"):
    """The rule could not judge. Never to be shown as clean.

    Attributes:
        reason: What was missing.
        subject: Name of what could not be judged.
        required: False for one that `lint --strict` does not insist on.
    """

    reason: str
    subject: str = ""
    required: bool = True


Evaluation = Union[Pass, Fail, NotApplicable, Open]  # noqa: UP007 - msgspec reads it at run time


class OpenQuestion(Frozen, frozen=True, kw_only=True):
    """An open evaluation in a report.

    Attributes:
        rule: Rule id.
        reason: Why it could not judge.
    """

    rule: str
    reason: str


class Ignored(Frozen, frozen=True, kw_only=True):
    """A finding that the project's settings set aside: it neither counts nor is it gone.

    Attributes:
        finding: The finding, as it would have been reported.
        reason: Why it is ignored, in the project's words.
        until: Last day (`2027-01-31`) on which it is; None for no end.
        by: Where that is settled.
    """

    finding: Finding
    reason: str
    until: str | None = None
    by: Location


class Tool(Frozen, frozen=True, kw_only=True):
    """Who wrote a document.

    Attributes:
        name: `gpudoctor`.
        version: Its version.
    """

    name: str
    version: str


class Target(Frozen, frozen=True, kw_only=True):
    """What was judged.

    Attributes:
        python: Interpreter path; None when only a binary was judged.
        python_version: Its version.
        binary: Native program or folder, with `--binary`.
        files: Dependency and container files, of `lint`: the named ones first, then what they pull in.
    """

    python: str | None
    python_version: str | None
    binary: str | None = None
    files: tuple[str, ...] = ()


class Summary(Frozen, frozen=True, kw_only=True):
    """Counts, and the exit status they lead to.

    Attributes:
        errors: Findings of level error.
        warnings: Findings of level warning.
        notes: Findings of level note.
        open: Evaluations that could not be made.
        exit_status: What the process returns.
    """

    errors: int
    warnings: int
    notes: int
    open: int
    exit_status: int


class Report(Frozen, frozen=True, kw_only=True):
    """The document of `check`.

    Attributes:
        schema_version: Version of this document's shape.
        tool: Who wrote it.
        matrix_version: Date version of the compatibility matrix.
        target: What was judged.
        findings: Worst first, then by rule id.
        open: What could not be judged.
        summary: Counts and exit status.
        config: The file of the project's settings that were used; None without one.
        ignored: Findings that these settings set aside.
        not_asked: Ids of the rules that `--select` or `--ignore` left out: what they judge is not known to be fine.
    """

    schema_version: int
    tool: Tool
    matrix_version: str
    target: Target
    findings: tuple[Finding, ...]
    open: tuple[OpenQuestion, ...]
    summary: Summary
    config: str | None = None
    ignored: tuple[Ignored, ...] = ()
    not_asked: tuple[str, ...] = ()

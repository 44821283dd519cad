"""What a project ignores goes aside with its reason; an ignore that ignores nothing, or no longer, is a finding."""

from __future__ import annotations

import datetime

import msgspec

from gpudoctor.config.apply import apply_config
from gpudoctor.config.read import parse_config
from gpudoctor.model.finding import Evaluation, Fail, Finding, Location, NotApplicable, Open, Pass, Subject
from gpudoctor.rules.engine import Verdict

TODAY = datetime.date(2026, 11, 21)
LOST = Finding(
    rule="GPD201",
    name="unresolved-library",
    level="error",
    confidence="read",
    cause=None,
    subject=Subject(kind="consumer", name="torch"),
    message="lost",
)
OTHER = msgspec.structs.replace(LOST, subject=Subject(kind="consumer", name="ctranslate2"))
IN_FILE = msgspec.structs.replace(LOST, location=Location(file="./deploy/requirements.txt", line=3))


def verdict(*findings: Finding, **answers: tuple[Evaluation, ...]) -> Verdict:
    judged: dict[str, tuple[Evaluation, ...]] = {"GPD201": tuple(Fail(f) for f in findings) or (Pass(),)}
    return Verdict(findings=findings, open=(), evaluations={**judged, **answers})


def applied(entries: str, before: Verdict, **options: object) -> tuple[list[str], list[str]]:
    """Return the rules of the findings that stay, and the reasons of those that went aside."""
    after = whole(entries, before, **options)
    return [f"{f.rule} {f.subject.name}" for f in after.findings], [i.reason for i in after.ignored]


def whole(entries: str, before: Verdict, **options: object) -> Verdict:
    config = parse_config(f"ignore = [\n{entries}\n]\n".encode(), "gpudoctor.toml", "/x")
    assert config is not None
    return apply_config(config, before, today=TODAY, **options)  # type: ignore[arg-type]


def test_the_finding_goes_aside_whole_with_reason_date_and_place() -> None:
    after = whole('{ rule = "GPD201", reason = "why", until = 2026-11-21 }', verdict(LOST))
    (ignored,) = after.ignored
    assert after.findings == ()
    assert (ignored.finding, ignored.reason, ignored.until) == (LOST, "why", "2026-11-21")
    assert ignored.by == Location(file="gpudoctor.toml", line=2)
    assert after.config == "gpudoctor.toml"


def test_by_name_in_any_case_and_only_the_subject_meant() -> None:
    assert applied('{ rule = "unresolved-library", reason = "a" }', verdict(LOST, OTHER)) == ([], ["a", "a"])
    assert applied('{ rule = "gpd201", reason = "a", subject = "torch" }', verdict(LOST, OTHER)) == (
        ["GPD201 ctranslate2"],
        ["a"],
    )


def test_only_the_file_meant() -> None:
    for path in ("requirements.txt", "deploy/requirements.txt", "./deploy/requirements.txt"):
        assert applied(f'{{ rule = "GPD201", reason = "a", file = "{path}" }}', verdict(IN_FILE)) == ([], ["a"])
    for path in ("ments.txt", "other/requirements.txt"):
        assert applied(f'{{ rule = "GPD201", reason = "a", file = "{path}" }}', verdict(IN_FILE))[1] == []


def test_an_unused_one_is_a_finding_with_its_place() -> None:
    text = '{ rule = "GPD201", reason = "a", subject = "torch" },\n{ rule = "GPD201", reason = "b", subject = "x" }'
    after = whole(text, verdict(LOST))
    (finding,) = after.findings
    assert (finding.rule, finding.level, finding.location) == (
        "GPD911",
        "warning",
        Location(file="gpudoctor.toml", line=3),
    )


def test_unused_is_not_said_of_what_was_not_judged() -> None:
    ignore = '{ rule = "GPD301", reason = "a" }'
    for before in (
        verdict(),
        verdict(GPD301=(Open("no"), Pass())),
    ):
        assert applied(ignore, before) == ([], [])
    assert applied(ignore, verdict(GPD301=(Pass(),)), partial=True) == ([], [])
    assert applied(ignore, verdict(GPD301=(NotApplicable("no torch"),))) == (["GPD911 ignore GPD301"], [])


def test_an_entry_for_a_file_is_unused_only_where_that_file_was_judged() -> None:
    ignore = '{ rule = "GPD201", reason = "a", file = "requirements.txt", subject = "x" }'
    assert applied(ignore, verdict(LOST)) == (["GPD201 torch"], [])
    assert applied(ignore, verdict(IN_FILE)) == (["GPD201 torch", "GPD911 ignore GPD201"], [])


def test_of_files_an_entry_is_unused_where_it_names_one_of_them() -> None:
    judged = verdict(GPD403=(), GPD104=(Open("no driver"),))

    def after(ignore: str) -> list[str]:
        return applied(ignore, judged, files=("deploy/requirements.txt",))[0]

    assert after('{ rule = "GPD403", reason = "a", file = "requirements.txt" }') == ["GPD911 ignore GPD403"]
    for other in ('file = "other.txt"', 'subject = "x"'):
        assert after(f'{{ rule = "GPD403", reason = "a", {other} }}') == []
    for rule in ("GPD104", "GPD601"):
        assert after(f'{{ rule = "{rule}", reason = "a", file = "requirements.txt" }}') == []


def test_an_expired_one_is_told_whether_or_not_its_rule_was_judged() -> None:
    ignore = '{ rule = "GPD601", reason = "a", until = 2026-11-20 }'
    for also in ({"partial": True}, {"files": ("requirements.txt",)}):
        (finding,) = whole(ignore, verdict(), **also).findings
        assert finding.rule == "GPD912"
        assert "it sets nothing aside any more" in finding.message


def test_one_that_matches_only_what_was_folded_away_is_used() -> None:
    before = Verdict(findings=(), open=(), evaluations={"GPD201": (Fail(LOST),)})
    assert applied('{ rule = "GPD201", reason = "a" }', before) == ([], [])


def test_an_expired_one_ignores_nothing_and_says_so() -> None:
    ignore = '{ rule = "GPD201", reason = "a", until = 2026-11-20 }'
    assert applied(ignore, verdict(LOST)) == (["GPD201 torch", "GPD912 ignore GPD201"], [])
    assert applied(ignore, verdict()) == (["GPD912 ignore GPD201"], [])


def test_the_command_line_outranks_it() -> None:
    ignore = '{ rule = "GPD201", reason = "a" }'
    for name in ("GPD201", "gpd201", "unresolved-library"):
        assert applied(ignore, verdict(LOST), select=(name,)) == (["GPD201 torch"], [])
    assert applied(ignore, verdict(LOST), select=("GPD2",)) == ([], ["a"])
    unused = '{ rule = "GPD201", reason = "a", subject = "x" }'
    assert applied(unused, verdict(LOST), ignore=("GPD911",)) == (["GPD201 torch"], [])
    assert applied(unused, verdict(LOST), select=("GPD2",)) == (["GPD201 torch"], [])


def test_an_open_question_is_never_ignored() -> None:
    before = Verdict(findings=(), open=(), evaluations={"GPD201": (Open("no"),)}, required_open=True)
    assert whole('{ rule = "GPD201", reason = "a" }', before).required_open

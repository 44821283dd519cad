"""Files -> verdict: reads them, plans what an install would give, and asks every rule that files can break."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from gpudoctor.lint.images import read_image
from gpudoctor.lint.judge_cudnn import judge_cudnn
from gpudoctor.lint.judge_libraries import judge_libraries
from gpudoctor.lint.judge_machine import judge_driver, judge_gpus, judge_services
from gpudoctor.lint.judge_packages import (
    judge_clashes,
    judge_disagreements,
    judge_pairs,
    judge_releases,
)
from gpudoctor.lint.judge_published import judge_builds
from gpudoctor.lint.judge_settings import judge_links, judge_puzzles, judge_settings
from gpudoctor.lint.judge_unknown import judge_unknown
from gpudoctor.lint.judge_unpinned import judge_unpinned
from gpudoctor.lint.plan import make_plan
from gpudoctor.lint.read import Environment, read_environments
from gpudoctor.lint.rules import NOT_UNDERSTOOD, rules_by_id
from gpudoctor.lint.scene import Scene
from gpudoctor.lint.target import Target, with_files
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, Evidence, Fail, Finding, Location, Open, OpenQuestion
from gpudoctor.rules.base import Rule
from gpudoctor.rules.engine import Verdict, is_asked, is_selected, sort_findings
from gpudoctor.system.protocol import ReadSystem

Judge = Callable[[Scene, dict[str, Rule]], Iterable[Evaluation]]

# The rules that each judge answers for; an open answer belongs to the first.
_JUDGES: tuple[tuple[tuple[str, ...], Judge], ...] = (
    (("GPD472",), judge_disagreements),
    (("GPD402",), judge_pairs),
    (("GPD403", "GPD401"), judge_clashes),
    (("GPD474", "GPD473", "GPD405", "GPD404", "GPD301"), judge_releases),
    (("GPD474",), judge_builds),
    (("GPD471",), judge_unpinned),
    (("GPD201", "GPD202", "GPD203", "GPD206"), judge_libraries),
    (("GPD104",), judge_driver),
    (("GPD302", "GPD107"), judge_gpus),
    (("GPD302",), judge_cudnn),
    (("GPD651",), judge_services),
    (("GPD501", "GPD502", "GPD505"), judge_settings),
    (("GPD561",), judge_links),
    ((NOT_UNDERSTOOD.id,), lambda scene, _rules: (*judge_puzzles(scene), *judge_unknown(scene))),
)

# What stands before the host of a URL is a password or a token, but for git's own user name.
_CREDENTIALS = re.compile(r"(?<=://)(?!git@)[^\s/@]{1,300}@")


class LintResult(msgspec.Struct, frozen=True, kw_only=True):
    """What lint found.

    Attributes:
        verdict: The rules' answers.
        files: Every file that was read, the named ones first.
        python: Python version that was judged for, where one is known.
    """

    verdict: Verdict
    files: tuple[str, ...]
    python: str | None = None


def lint_files(
    system: ReadSystem,
    matrix: Matrix,
    paths: Sequence[str],
    target: Target,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    apart: bool = False,
) -> LintResult:
    """Judge dependency and container files. Nothing is installed, executed or fetched.

    Args:
        system: Where the files are.
        matrix: The facts.
        paths: Files and folders.
        target: The machine that they are for.
        select: Rule ids, names or beginnings of ids; only these. Empty means all.
        ignore: The same; these not.
        apart: Each file is an environment of its own, with what it pulls in.

    Raises:
        InputFileError: A file cannot be read as what it is.
    """
    environments = read_environments(system, tuple(paths), apart=apart)
    findings: dict[tuple[str, Location | None, str], Finding] = {}
    questions: dict[OpenQuestion, bool] = {}
    evaluations: dict[str, tuple[Evaluation, ...]] = {}
    pythons: set[str | None] = set()
    for environment in environments:
        scene = make_scene(environment, matrix, target)
        pythons.add(scene.target.python)
        for rule_ids, answers in ask_rules(scene):
            for rule_id in rule_ids:
                evaluations[rule_id] = (*evaluations.get(rule_id, ()), *answers)
            for finding in (_without_credentials(e.finding) for e in answers if isinstance(e, Fail)):
                # What two environments of one file share is said once, whatever else is around it.
                findings.setdefault((finding.rule, finding.location, finding.message), finding)
            for answer in (e for e in answers if isinstance(e, Open)):
                question = OpenQuestion(rule=rule_ids[0], reason=_masked(answer.reason))
                questions[question] = answer.required or questions.get(question, False)
    kept = [f for f in findings.values() if is_selected(f, select, ignore)]
    open_questions = tuple(q for q in questions if _is_wanted(q.rule, select, ignore))
    verdict = Verdict(
        findings=sort_findings(kept),
        open=open_questions,
        evaluations=evaluations,
        required_open=any(questions[q] for q in open_questions),
    )
    files = tuple(dict.fromkeys(f for e in environments for f in e.files))
    return LintResult(verdict=verdict, files=files, python=pythons.pop() if len(pythons) == 1 else None)


def _without_credentials(finding: Finding) -> Finding:
    """Return a finding that a public log may hold: a private index's URL stays, and its password does not."""
    observed = tuple(Evidence(label=e.label, value=_masked(e.value)) for e in finding.evidence)
    return msgspec.structs.replace(finding, message=_masked(finding.message), evidence=observed)


def _masked(text: str) -> str:
    return _CREDENTIALS.sub("[masked]@", text)


def make_scene(environment: Environment, matrix: Matrix, target: Target) -> Scene:
    """Return what the rules are asked about."""
    here = with_files(target, environment.parts)
    images = tuple(read_image(matrix, i) for i in environment.parts.images)
    plan = make_plan(environment.parts, images, matrix, here)
    return Scene(parts=environment.parts, plan=plan, images=images, target=here, matrix=matrix)


def ask_rules(scene: Scene) -> Iterable[tuple[tuple[str, ...], tuple[Evaluation, ...]]]:
    """Yield what the rules that files can break answer, those of one judge together."""
    rules = rules_by_id()
    for rule_ids, judge in _JUDGES:
        yield rule_ids, tuple(judge(scene, rules))


def _is_wanted(rule_id: str, select: Sequence[str], ignore: Sequence[str]) -> bool:
    rule = rules_by_id().get(rule_id)
    return is_asked(rule_id, rule.name if rule else "", select, ignore)

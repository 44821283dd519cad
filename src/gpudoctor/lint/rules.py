"""The rules that only files can break, and where lint finds those that `check` has too."""

from __future__ import annotations

from gpudoctor.lint import pages
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, NotApplicable
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.registry import RULES


def _on_files(_snapshot: Snapshot, _matrix: Matrix) -> tuple[Evaluation, ...]:
    return (NotApplicable("judged by `gpudoctor lint`, from files"),)


UNPINNED = Rule(
    id="GPD471",
    name="unpinned-coupled-package",
    title="A package whose releases need different GPU libraries is not pinned",
    level="warning",
    causes=(),
    page=pages.GPD471,
    evaluate=_on_files,
)
DISAGREE = Rule(
    id="GPD472",
    name="requirements-disagree",
    title="Requirements that no release of a package meets",
    level="error",
    causes=(),
    page=pages.GPD472,
    evaluate=_on_files,
)
YANKED = Rule(
    id="GPD473",
    name="yanked-release",
    title="A pinned release that its maintainers withdrew",
    level="warning",
    causes=(),
    page=pages.GPD473,
    evaluate=_on_files,
)
NO_RELEASE = Rule(
    id="GPD474",
    name="no-such-release",
    title="A pinned release that is not on the package index",
    level="warning",
    causes=("no-wheel-for-python",),
    page=pages.GPD474,
    evaluate=_on_files,
)
NOT_UNDERSTOOD = Rule(
    id="GPD479",
    name="line-not-understood",
    title="A line that may install something and could not be understood",
    level="note",
    causes=(),
    page=pages.GPD479,
    evaluate=_on_files,
)
LINKS = Rule(
    id="GPD561",
    name="links-beside-consumer",
    title="A script links libraries of a wheel into a program's folder",
    level="note",
    causes=("cudnn-not-loadable", "cuda-lib-not-loadable"),
    page=pages.GPD561,
    evaluate=_on_files,
)
NO_RESERVATION = Rule(
    id="GPD651",
    name="gpu-not-reserved",
    title="A compose service with GPU packages gets no GPU",
    level="warning",
    causes=("container-no-gpu",),
    page=pages.GPD651,
    evaluate=_on_files,
)
LINT_RULES: tuple[Rule, ...] = (UNPINNED, DISAGREE, YANKED, NO_RELEASE, NOT_UNDERSTOOD, LINKS, NO_RESERVATION)
# Rules of `check` whose fault can be read from files already.
SHARED_IDS = (
    "GPD104",
    "GPD107",
    "GPD201",
    "GPD202",
    "GPD203",
    "GPD206",
    "GPD301",
    "GPD302",
    "GPD401",
    "GPD402",
    "GPD403",
    "GPD404",
    "GPD405",
    "GPD501",
    "GPD502",
    "GPD505",
)


def rules_by_id() -> dict[str, Rule]:
    """Return the rules that lint judges by, by id."""
    return {r.id: r for r in (*RULES, *LINT_RULES) if r.id in SHARED_IDS or r in LINT_RULES}

"""GPD911 and GPD912: an ignore that ignores nothing, or no longer. gpudoctor.config.apply answers for them."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, NotApplicable
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule

NO_CAUSE = "a matter of the project's settings, and no fault of the environment"


def _without_config(_snapshot: Snapshot, _matrix: Matrix) -> tuple[Evaluation, ...]:
    return (NotApplicable("no settings with an ignore were found"),)


UNUSED_IGNORE = Rule(
    id="GPD911",
    name="unused-ignore",
    title="An ignore in the project's settings matches no finding",
    level="warning",
    causes=(),
    page="""\
## What
An entry of `ignore` in `gpudoctor.toml` or `[tool.gpudoctor]` names a rule that was judged, and no finding matches.

## Why it matters
What was wrong is right again, or the entry was never right (a slip in `subject`). Left alone it will hide the same
fault when it comes back, and nobody will remember why.

## How it is known
The rule ran and could judge, and none of its findings, the folded ones included, has the entry's subject and file. A
rule that did not run (another command, `--select`, `--for`) or that is open says nothing about its ignores, and an
entry with a `file` counts only where that file was judged.

## What to do
Remove the entry, or correct its `rule`, `subject` or `file`.
""",
    evaluate=_without_config,
    required=False,
)

EXPIRED_IGNORE = Rule(
    id="GPD912",
    name="expired-ignore",
    title="An ignore in the project's settings has passed its date",
    level="warning",
    causes=(),
    page="""\
## What
The last day of an entry of `ignore` (`until`) is over: what it set aside counts again.

## Why it matters
The date was somebody's promise to look again. The finding is back in the report, and the exit status follows it.

## How it is known
`until` is the last day on which an entry holds, compared with today's date (UTC).

## What to do
Repair what the finding says; or, with a fresh reason, move the date.
""",
    evaluate=_without_config,
    required=False,
)

CONFIG_RULES: tuple[Rule, ...] = (UNUSED_IGNORE, EXPIRED_IGNORE)

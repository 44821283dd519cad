"""`gpudoctor rule`: a rule's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import Color, ColorOption, emit, rendering

if TYPE_CHECKING:
    from gpudoctor.rules.base import Rule


def every_rule() -> tuple[Rule, ...]:
    """Return all rules by id: those on a snapshot, and those that need a lock file or a deep check besides."""
    from gpudoctor.canary.rules import CANARY_RULES
    from gpudoctor.config.rules import CONFIG_RULES
    from gpudoctor.drift.rules import DRIFT_RULES
    from gpudoctor.fix.rules import FIX_RULES
    from gpudoctor.lint.rules import LINT_RULES
    from gpudoctor.rules.registry import RULES

    others = (*DRIFT_RULES, *CANARY_RULES, *FIX_RULES, *CONFIG_RULES, *LINT_RULES)
    return tuple(sorted((*RULES, *others), key=lambda r: r.id))


def rule(
    rule_id: Annotated[str | None, typer.Argument(metavar="ID", help="Rule id or name, such as GPD201.")] = None,
    color: ColorOption = Color.AUTO,
) -> int:
    """Explain a rule: what it finds, why that happens, how gpudoctor knows, what to do. Without ID: list them all.

    Example: gpudoctor rule GPD201
    """
    from gpudoctor.report.text import render_rule_list, render_rule_page
    from gpudoctor.rules.registry import find_rule

    colored, width, ascii_only = rendering(color, None)
    every = every_rule()
    if rule_id is None:
        emit(render_rule_list(every, colored=colored, width=width, ascii_only=ascii_only), None)
        return 0
    found = find_rule(rule_id, every)
    if found is None:
        from gpudoctor.model.errors import UsageError

        raise UsageError(f"no rule {rule_id!r}; `gpudoctor rule` lists them all")
    emit(render_rule_page(found, colored=colored, width=width, ascii_only=ascii_only), None)
    return 0

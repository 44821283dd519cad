"""`gpudoctor rule`: a rule's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import Color, ColorOption, emit, rendering
from gpudoctor.cli.complete import complete_rule

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
    rule_id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="Rule id or name, such as GPD201; or a cause, as findings name it.",
            autocompletion=complete_rule,
        ),
    ] = None,
    color: ColorOption = Color.AUTO,
) -> int:
    """Explain a rule: what it finds, why that happens, how gpudoctor knows, what to do. Without ID: list them all.

    A cause, as findings and `gpudoctor explain` name it, is explained too, with the rules that can tell it.

    Examples:
      gpudoctor rule GPD201
      gpudoctor rule cudnn-not-loadable
    """
    from gpudoctor.report.text import render_rule_list, render_rule_page
    from gpudoctor.rules.registry import find_rule

    colored, width, ascii_only = rendering(color, None)
    every = every_rule()
    if rule_id is None:
        emit(render_rule_list(every, colored=colored, width=width, ascii_only=ascii_only), None)
        return 0
    found = find_rule(rule_id, every)
    if found is not None:
        emit(render_rule_page(found, colored=colored, width=width, ascii_only=ascii_only), None)
        return 0
    cause, deciding = rule_id.strip().lower(), tuple(r for r in every if rule_id.strip().lower() in r.causes)
    meaning = _meaning(cause)
    if not deciding and meaning is None:
        from gpudoctor.model.errors import UsageError

        raise UsageError(f"no rule or cause {rule_id!r}; `gpudoctor rule` lists the rules")
    head = f"cause {cause}: {meaning or 'see its rules'}\n\n"
    emit(head + render_rule_list(deciding, colored=colored, width=width, ascii_only=ascii_only), None)
    return 0


def _meaning(cause: str) -> str | None:
    """Return what a cause is in words, without the parts that only a log could fill in; None for an unknown one."""
    from gpudoctor.explain.advice import Adviser
    from gpudoctor.explain.catalogue import load_catalogue

    return Adviser(load_catalogue(), None).meaning(cause)

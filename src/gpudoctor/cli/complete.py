"""What the shell offers for the values of options, when completion is installed."""

from __future__ import annotations


def complete_rule(incomplete: str) -> list[str]:
    """Return the rule ids that begin so."""
    from gpudoctor.cli.rule import every_rule

    return [rule.id for rule in every_rule() if rule.id.startswith(incomplete)]


def complete_consumer(incomplete: str) -> list[str]:
    """Return the consumers that begin so."""
    from gpudoctor.matrix.load import load_matrix

    return [name for name in sorted(load_matrix(None).consumers) if name.startswith(incomplete)]

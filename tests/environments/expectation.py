"""What a golden environment pins of a verdict: everything a user acts on, no wording."""

from __future__ import annotations

import json

from gpudoctor.rules.engine import Verdict


def expected_of(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as it stands in an `expected.json`."""
    return {
        "findings": [
            {
                "rule": f.rule,
                "level": f.level,
                "cause": f.cause,
                "subject": f"{f.subject.kind} {f.subject.name}",
                "consequences": len(f.consequences),
            }
            for f in verdict.findings
        ],
        "open": sorted({q.rule for q in verdict.open}),
    }


def render_expected(verdict: Verdict) -> str:
    """Return the text of an `expected.json`."""
    return json.dumps(expected_of(verdict), indent=1) + "\n"

"""The page of each rule: Markdown, in one shape, so that a reader at 2 a.m. knows where to look."""

from __future__ import annotations


def page(*, finds: str, why: str, known: str, todo: str, sources: tuple[str, ...]) -> str:
    """Return a rule's page.

    Args:
        finds: What it finds, and at which level.
        why: Why it happens.
        known: How gpudoctor knows.
        todo: What to do.
        sources: Documents and threads.
    """
    parts = (
        ("What it finds", finds),
        ("Why it happens", why),
        ("How gpudoctor knows", known),
        ("What to do", todo),
        ("Sources", "\n".join(f"- {source}" for source in sources)),
    )
    return "\n".join(f"## {heading}\n\n{text.strip()}\n" for heading, text in parts)

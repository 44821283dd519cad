"""Whether a model will fit on the GPU, judged before it is tried: measured figures are facts, others are estimates."""

from __future__ import annotations

import re

from gpudoctor.bench.models import ModelChoice
from gpudoctor.matrix.claims import NeedsMemory
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Fact
from gpudoctor.model.bench import MemoryJudgement

_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int16": 2.0}
_INT8_BYTES = 1.1  # weights, their scales, and what stays in the wider format
# Activations, libraries and workspaces beside the weights: read off the measured rows of the large models, where they
# are a third of the weights and about 300 MB.
_SHARE = 1.35
_FIXED_BYTES = 300 << 20
_WINDOW_SHARE = 0.05


def judge_memory(
    matrix: Matrix, model: ModelChoice, compute_type: str, batch_size: int | None, free_bytes: int | None
) -> MemoryJudgement | None:
    """Return whether a model fits; None for a model of which nothing is known.

    Args:
        matrix: Holds what was measured.
        model: The model.
        compute_type: Number format.
        batch_size: Windows decoded at once; None for one.
        free_bytes: Free memory of the GPU; None when nobody could ask.
    """
    if model.shape is None:
        return None
    fact = _fact(matrix, model.shape.name, compute_type, batch_size or 1)
    if fact is not None and isinstance(fact.claim, NeedsMemory):
        needed, documented = fact.claim.peak_bytes, fact.status != "inferred"
    else:
        needed, documented = _estimate(model.shape.parameters, compute_type, batch_size or 1), False
    return MemoryJudgement(
        model=model.given,
        compute_type=compute_type,
        needed_bytes=needed,
        basis="documented" if documented else "estimate",
        free_bytes=free_bytes,
        fits=None if free_bytes is None else needed <= free_bytes,
        fact=fact.id if fact else None,
    )


def _fact(matrix: Matrix, model: str, compute_type: str, batch_size: int) -> Fact | None:
    """Return the fact for exactly this, of documented ones first."""
    found = [
        fact
        for fact in matrix.data.facts
        if isinstance(fact.claim, NeedsMemory)
        and (fact.claim.model, fact.claim.compute_type, fact.claim.batch_size) == (model, compute_type, batch_size)
    ]
    return min(found, key=lambda fact: fact.status == "inferred", default=None)


def _estimate(parameters: int, compute_type: str, batch_size: int) -> int:
    each = _INT8_BYTES if re.match(r"int8", compute_type) else _BYTES.get(compute_type, 4.0)
    weights = parameters * each
    return int(weights * (_SHARE + _WINDOW_SHARE * (batch_size - 1)) + _FIXED_BYTES)

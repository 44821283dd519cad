"""The models that the user means to run: `--model large-v3:int8_float16:8`."""

from __future__ import annotations

from gpudoctor.matrix.claims import NeedsMemory
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.machine import PlannedModel

# https://opennmt.net/CTranslate2/quantization.html (2026-11-21)
COMPUTE_TYPES = (
    "float32",
    "float16",
    "bfloat16",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
)


def parse_models(matrix: Matrix, texts: tuple[str, ...]) -> tuple[PlannedModel, ...]:
    """Return planned models.

    Args:
        matrix: Knows the models.
        texts: `NAME`, `NAME:TYPE` or `NAME:TYPE:BATCH`; an empty or `default` TYPE is the package's own choice.

    Raises:
        UsageError: A text is none of these, or names a model or a number format that nobody knows.
    """
    return tuple(_parse(matrix, text) for text in texts)


def _parse(matrix: Matrix, text: str) -> PlannedModel:
    name, compute_type, batch = (*text.strip().split(":"), "", "")[:3]
    if text.count(":") > 2 or not name:
        raise UsageError(f"--model {text!r}: write NAME, NAME:TYPE or NAME:TYPE:BATCH, such as large-v3:float16:8")
    known = _known_models(matrix)
    model = matrix.model(name)
    name = model.name if model else name
    if name not in known:
        raise UsageError(f"--model {text!r}: no such model; known are {', '.join(known) or 'none'}")
    if compute_type not in ("", "default", "auto", *COMPUTE_TYPES):
        raise UsageError(f"--model {text!r}: no number format {compute_type!r}; known are {', '.join(COMPUTE_TYPES)}")
    if batch and not (batch.isascii() and batch.isdigit() and 0 < int(batch[:5]) <= 1024 and len(batch) < 5):
        raise UsageError(f"--model {text!r}: a batch size is a whole number from 1 to 1024")
    chosen = None if compute_type in ("", "default", "auto") else compute_type
    return PlannedModel(name=name, compute_type=chosen, batch_size=int(batch) if batch else 1)


def _known_models(matrix: Matrix) -> tuple[str, ...]:
    """Return every size that the matrix knows; what lacks a figure of its memory is the rule's to say."""
    measured = (f.claim.model for f in matrix.data.facts if isinstance(f.claim, NeedsMemory))
    return tuple(dict.fromkeys((*(m.name for m in matrix.data.models), *measured)))

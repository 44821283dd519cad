"""Whether two runs computed the same: the encoder's output, and the log-probabilities of given tokens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gpudoctor.bench.jobs import Event, Shop
from gpudoctor.model.bench import Agreement, Device

REFERENCE = "cpu float32"
# Most that an output may differ from single precision, as a share of the output. For int8 four times what was measured
# on the CPU (2.2 to 3.7 %, tiny to large-v3); the others follow from the bits of their mantissas (24, 11, 8) and are no
# measurement. What computes nonsense is off by 1 and more.
TOLERANCES = {"float32": 0.01, "float16": 0.05, "bfloat16": 0.15, "int16": 0.05}
_INT8_TOLERANCE = 0.15


class Outputs(msgspec.Struct, frozen=True):
    """Where a run wrote what it computed.

    Attributes:
        path: The file.
        model: As named.
        device: Of the run.
        compute_type: Of the run.
        synthetic: Whether its text is noise.
    """

    path: str
    model: str
    device: Device
    compute_type: str
    synthetic: bool


def tolerance_of(compute_type: str) -> float:
    """Return how much a number format may be off; formats that the device chooses count as the coarsest."""
    return TOLERANCES.get(compute_type, _INT8_TOLERANCE)


def compare_outputs(shop: Shop, reference: str, others: Sequence[Outputs]) -> tuple[Agreement, ...]:
    """Compare what runs computed with a reference, in a child of the target: it has NumPy."""
    if not others:
        return ()
    result = shop.do({"job": "compare", "reference": reference, "others": [o.path for o in others]})
    told = {event.number: event for event in result.all("compared")}
    return tuple(_agreement(other, told.get(number)) for number, other in enumerate(others))


def _agreement(outputs: Outputs, event: Event | None) -> Agreement:
    limit = tolerance_of(outputs.compute_type)
    encoder = event.encoder_error if event else None
    log_probs = event.log_prob_error if event else None
    return Agreement(
        model=outputs.model,
        device=outputs.device,
        compute_type=outputs.compute_type,
        reference=REFERENCE,
        encoder_error=encoder,
        log_prob_error=log_probs,
        tolerance=limit,
        tokens_equal=event.tokens_equal if event and not outputs.synthetic else None,
        agrees=encoder is not None and log_probs is not None and max(encoder, log_probs) <= limit,
    )

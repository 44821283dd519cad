"""PyTorch's own package indexes: one for each build label, and which builds they have."""

from __future__ import annotations

import re

from gpudoctor.lint.target import Target
from gpudoctor.lint.types import Requirement
from gpudoctor.matrix.claims import HasGpuCode
from gpudoctor.matrix.index import Matrix

# Hosts whose packages carry a build label, which decides the CUDA of the build: `…/whl/cu124`.
_TORCH_INDEX = re.compile(r"download(?:-r2)?\.pytorch\.org/whl/(?:nightly/|test/)?(?P<label>cu\d+|cpu|xpu|rocm[\d.]+)")
LABELLED = ("torch", "torchaudio", "torchvision", "torchcodec")


def label_of(requirement: Requirement) -> str | None:
    """Return the build label that a requirement's index gives: `cu124`; None where none does."""
    for url in (requirement.url, requirement.index, *requirement.extra_indexes):
        if url and (match := _TORCH_INDEX.search(url)):
            return match["label"]
    return None


def has_build(matrix: Matrix, target: Target, version: str, label: str) -> bool:
    """Tell whether the matrix knows a build of a torch release with a label."""
    wanted = _cuda_of(label)
    facts = matrix.facts("torch", HasGpuCode, f"{version}+{label}", target.platform)
    return any(label in f.when.builds or (not f.when.builds and c.cuda == wanted) for f, c in facts)


def label_served(url: str) -> str | None:
    """Return the one build label that an index of PyTorch's serves, if it serves one; else None."""
    match = _TORCH_INDEX.search(url)
    return match["label"] if match else None


def _cuda_of(label: str) -> str:
    """Return the CUDA release of a label: `12.4` for `cu124`."""
    digits = label.removeprefix("cu")
    return f"{digits[:-1]}.{digits[-1]}" if digits.isdigit() else label

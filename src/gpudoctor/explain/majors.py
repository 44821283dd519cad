"""Majors wanted and majors found: whether a library is missing or only one of another major is there."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.explain.match import Collected, Hit

_LIKELIER = 1.6
_UNLIKELIER = 0.4
# Only of these does the file's own major follow CUDA's.
_CUDA_NUMBERED = re.compile(r"(?:lib)?(?:cublas(?:Lt)?|cudart|nvrtc(?:-builtins)?|nvJitLink)[^a-zA-Z]")
# torch 2.4 was the first with cuDNN 9; 1.8 to 2.3 came with cuDNN 8.
_CUDNN9_TORCH = (2, 4)


class Majors(msgspec.Struct, frozen=True):
    """What a log shows to be there.

    Attributes:
        cuda: CUDA majors.
        cudnn: cuDNN majors.
    """

    cuda: frozenset[str]
    cudnn: frozenset[str]

    @classmethod
    def of(cls, collected: Collected) -> Majors:
        """Read them from the contexts of a log."""
        parts = [found for group in collected.named.values() for found in group]
        cudnn = _named(parts, "cudnn") | {_cudnn_of(p["torch"]) for p in parts if "torch" in p}
        return cls(frozenset(_named(parts, "cuda")), frozenset(cudnn))

    def factor(self, cause: str, hit: Hit) -> float:
        """Return how much likelier a cause is, given what the log shows to be there."""
        major = hit.parts.get("major")
        if major is None:
            return 1.0
        if cause in ("cudnn-major-mismatch", "cudnn-not-loadable"):
            return _factor(major, self.cudnn, mismatch=cause == "cudnn-major-mismatch")
        numbered = _CUDA_NUMBERED.match(hit.parts.get("library", ""))
        if numbered and cause in ("cuda-major-mismatch", "cuda-lib-not-loadable"):
            return _factor(major, self.cuda, mismatch=cause == "cuda-major-mismatch")
        return 1.0


def _factor(wanted: str, there: frozenset[str], *, mismatch: bool) -> float:
    if not there:
        return 1.0
    return _LIKELIER if (wanted not in there) == mismatch else _UNLIKELIER


def _cudnn_of(torch: str) -> str:
    numbers = tuple(int(part) for part in torch.split(".")[:2])
    return "9" if numbers >= _CUDNN9_TORCH else "8"


def _named(parts: list[dict[str, str]], name: str) -> set[str]:
    """Return the values of a part; `cuda2` is `cuda` in another place of the pattern."""
    return {value for found in parts for key, value in found.items() if key.rstrip("0123456789") == name}

"""Which GPU a user means by a name: `--assume-gpu "RTX 3090"`, `rtx3090`, `NVIDIA GeForce RTX 3090`, `8.6`."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.matrix.tables import GpuModel

# Words that a full name carries and a short one leaves out. None of them tells two compute capabilities apart.
_NOISE = re.compile(
    r"\b(nvidia|geforce|tesla|quadro|graphics|generation|gpu|laptop|mobile|max-?q|design|with|sxm\d?|pcie|nvl|hbm\w*"
    r"|workstation|server|edition|\d+\s*gi?b)\b"
)
_MEMORY = re.compile(r"\b(\d+)\s*gi?b\b")
_PORTABLE = re.compile(r"\b(laptop|mobile|max-?q)\b")
_CAPABILITY = re.compile(r"(?:cc|sm_|compute_)?\s*(\d{1,2})\.?(\d)")


class KnownGpu(msgspec.Struct, frozen=True):
    """What the matrix knows of a GPU.

    Attributes:
        name: Marketing name; for a bare compute capability, the words `compute capability 8.6`.
        compute_capability: Dotted.
        memory_bytes: Board memory, where the name says it or the board is sold with one size only.
        tegra: True for a Jetson: its code is not binary compatible with other GPUs.
    """

    name: str
    compute_capability: str
    memory_bytes: int | None
    tegra: bool


def find_gpu(models: tuple[GpuModel, ...], text: str) -> KnownGpu | None:
    """Return the GPU that a text means.

    Spelling is free: case, spaces, hyphens, `NVIDIA`, `GeForce`, form factor and memory size may be there or not. A
    laptop's GPU has the compute capability of its namesake but other memory, so its memory is None.

    Args:
        models: The table.
        text: Name or compute capability.

    Returns:
        The GPU, or None when the table has none of that name.
    """
    plain = text.strip().lower()
    if match := _CAPABILITY.fullmatch(plain):
        return _by_capability(models, f"{int(match[1])}.{match[2]}")
    spaced = re.sub(r"[-_/()]", " ", plain)
    wanted = _key(plain)
    for model in models:
        for name in model.names:
            if wanted and wanted in (_key(name), _key(name) + "super"):
                memory = _memory(model, name, spaced)
                return KnownGpu(_title(name), model.compute_capability, memory, model.tegra)
    return None


def _by_capability(models: tuple[GpuModel, ...], capability: str) -> KnownGpu | None:
    model = next((m for m in models if m.compute_capability == capability), None)
    return KnownGpu(f"compute capability {capability}", capability, None, model.tegra) if model else None


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", _NOISE.sub(" ", re.sub(r"[-_/()]", " ", name.lower())))


def _title(name: str) -> str:
    return name if name.startswith("NVIDIA") else f"NVIDIA {name}"


def _memory(model: GpuModel, name: str, spaced: str) -> int | None:
    if match := _MEMORY.search(spaced):
        return int(match[1]) << 30
    if _PORTABLE.search(spaced) or "super" in spaced:
        return None
    return model.memory_bytes.get(name)

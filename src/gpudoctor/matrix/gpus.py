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

    Spelling is free: case, spaces, hyphens, `NVIDIA`, `GeForce`, form factor and memory size may be there or not, and
    a part of the name is enough where it means one compute capability (`5090`, `RTX PRO 6000`). A laptop's GPU has the
    compute capability of its namesake but other memory, so its memory is None.

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
    for model, name in _named(models, _key(plain)):
        return KnownGpu(_title(name), model.compute_capability, _memory(model, name, spaced), model.tegra)
    return None


def _named(models: tuple[GpuModel, ...], wanted: str) -> list[tuple[GpuModel, str]]:
    """Return the GPUs of a name; else those that have it as a part (`5090`), if all are of one compute capability."""
    if not wanted:
        return []
    every = [(model, name) for model in models for name in model.names]
    if exact := [(model, name) for model, name in every if wanted in (_key(name), _key(name) + "super")]:
        return exact
    number = wanted.removesuffix("super")
    part = [(model, name) for model, name in every if any(c.isdigit() for c in number) and number in _parts(name)]
    one = len({model.compute_capability for model, _ in part}) == 1
    return sorted(part, key=lambda found: len(found[1])) if one else []


def _parts(name: str) -> set[str]:
    """Return the runs of words of a name, written as one: `RTX PRO 6000 Blackwell` has `pro6000`."""
    words = [key for word in re.split(r"[-_/() ]", name) if (key := _key(word))]
    return {"".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)}


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

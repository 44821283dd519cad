"""Tables of the matrix: causes, driver branches, GPUs, Whisper models, container images. These types are the schema."""

from __future__ import annotations

import msgspec

from gpudoctor.matrix.claims import Strict
from gpudoctor.matrix.sources import Source, Status


class Cause(Strict, frozen=True, kw_only=True):
    """One true cause of a GPU fault; `check` and `explain` speak of the same ones.

    Attributes:
        id: Kebab-case.
        group: Heading that it stands under.
        meaning: One sentence.
    """

    id: str
    group: str
    meaning: str


class DriverBranch(Strict, frozen=True, kw_only=True):
    """A driver branch and the CUDA version that it serves natively.

    Attributes:
        branch: First number of its releases: `535`.
        cuda: Highest CUDA version, dotted, as cuDriverGetVersion answers.
        first: First release of the branch that a CUDA toolkit of that version came with, where one did.
        forward_compat: CUDA versions, newer than its own, whose forward-compatibility package (`cuda-compat-13-0`) may
            be used on it, on data-centre GPUs. Any other package on it fails with error 803 or 804.
        end_of_life: Month in which its support ends: `2026-06`.
        status: How well it is known.
        sources: At least one.
    """

    branch: str
    cuda: str
    first: str | None = None
    forward_compat: tuple[str, ...] = ()
    end_of_life: str | None = None
    status: Status
    sources: tuple[Source, ...]


class GpuModel(Strict, frozen=True, kw_only=True):
    """GPUs of one compute capability, by marketing name.

    Attributes:
        compute_capability: Dotted: `8.6`.
        architecture: `Ampere`.
        names: As NVML prints them, without `NVIDIA`.
        memory_bytes: Board memory by name, for boards sold with one size only.
        tegra: True for boards whose code is not binary compatible with desktop and data-centre GPUs.
        first_cuda: Least CUDA version that compiles for it and whose driver runs it: `12.8`.
        last_cuda_major: Last CUDA major with libraries for it; None while the newest has them.
        last_driver_branch: Last driver branch that runs it; None while the newest does.
        status: How well it is known.
        sources: At least one.
    """

    compute_capability: str
    architecture: str
    names: tuple[str, ...]
    memory_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    tegra: bool = False
    first_cuda: str | None = None
    last_cuda_major: str | None = None
    last_driver_branch: str | None = None
    status: Status
    sources: tuple[Source, ...]


class WhisperModel(Strict, frozen=True, kw_only=True):
    """The shape of a Whisper model.

    Attributes:
        name: Size name, as faster-whisper takes it: `large-v3`.
        aliases: Other names of the same model: `turbo` of `large-v3-turbo`.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder.
        heads: Attention heads of each layer.
        width: Width of the model (d_model).
        mel_bins: Bins of the mel spectrogram.
        vocabulary: Entries of the vocabulary.
        parameters: Parameters as published, in whole numbers.
        status: How well it is known.
        sources: At least one.
    """

    name: str
    aliases: tuple[str, ...] = ()
    encoder_layers: int
    decoder_layers: int
    heads: int
    width: int
    mel_bins: int
    vocabulary: int
    parameters: int
    status: Status
    sources: tuple[Source, ...]


class BaseImage(Strict, frozen=True, kw_only=True):
    """A container image that people build speech services on.

    Attributes:
        image: Repository: `nvidia/cuda`.
        tag: Tag: `12.4.1-cudnn-runtime-ubuntu22.04`.
        cuda: CUDA version in it.
        cudnn: cuDNN version in it; None without.
        status: How well it is known.
        sources: At least one.
    """

    image: str
    tag: str
    cuda: str
    cudnn: str | None = None
    status: Status
    sources: tuple[Source, ...]


class Releases(Strict, frozen=True, kw_only=True):
    """The releases of a package that are published with wheels for Linux x86-64, or that need none (openai-whisper).

    Attributes:
        package: Canonical name.
        versions: Release -> Python versions that its wheels install on, as a specifier set. Pre-releases and withdrawn
            releases are left out.
        date: Day they were read from the package index.
    """

    package: str
    versions: dict[str, str]
    date: str

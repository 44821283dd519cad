"""What a base image brings: read from the matrix's table, else from the tag itself."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.lint.types import Image
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.tables import BaseImage

_CUDA_TAG = re.compile(
    r"(?P<cuda>\d+\.\d+(?:\.\d+)?)(?:-(?P<cudnn>cudnn(?P<major>\d*)))?(?:-(?P<flavour>base|runtime|devel))?(?:-.*)?"
)
_TORCH_TAG = re.compile(r"(?P<torch>\d+\.\d+\.\d+)-cuda(?P<cuda>\d+\.\d+)-cudnn(?P<cudnn>\d+)(?:-.*)?")
# Images of operating systems and of Python: no CUDA is in them.
_PLAIN = re.compile(
    r"(?:.*/)?(?:python|debian|ubuntu|alpine|fedora|centos|rockylinux|almalinux|amazonlinux|node|buildpack-deps|scratch"
    r"|miniconda3|anaconda3|micromamba|mambaforge|miniforge3|uv)(?:[:@].*)?"
)


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a base image.

    Attributes:
        image: The line that names it.
        cuda: CUDA release in it; None without.
        libraries: Whether the CUDA libraries (cuBLAS, cuFFT, …) are in it, not the runtime alone.
        cudnn: cuDNN release in it, as closely as it is known; None without.
        cudnn_known: False where cuDNN is in it and nobody knows which.
        torch: torch release in it, with its label.
        known: False for an image that nobody knows: a project's own base.
        sets_path: True when the image sets LD_LIBRARY_PATH itself.
    """

    image: Image
    cuda: str | None = None
    libraries: bool = False
    cudnn: str | None = None
    cudnn_known: bool = True
    torch: str | None = None
    known: bool = True
    sets_path: bool = False


def read_image(matrix: Matrix, image: Image) -> ImageFacts:
    """Return what is known of a base image."""
    name, tag = split_reference(image.reference)
    short = name.removeprefix("docker.io/").removeprefix("library/").removeprefix("nvcr.io/")
    if short == "nvidia/cuda" and (match := _CUDA_TAG.fullmatch(tag)):
        return _cuda_image(matrix, image, match)
    if short == "pytorch/pytorch" and (match := _TORCH_TAG.fullmatch(tag)):
        label = "cu" + match["cuda"].replace(".", "")
        return ImageFacts(image=image, torch=f"{match['torch']}+{label}", sets_path=True)
    if short in ("nvidia/cuda", "pytorch/pytorch") or not _PLAIN.fullmatch(image.reference):
        return ImageFacts(image=image, known=False)
    return ImageFacts(image=image)


def split_reference(reference: str) -> tuple[str, str]:
    """Return repository and tag of an image reference; a digest is left out."""
    reference = reference.partition("@")[0]
    folder, slash, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{folder}{slash}{name}", tag or "latest"


def _cuda_image(matrix: Matrix, image: Image, match: re.Match[str]) -> ImageFacts:
    row = _row(matrix, match)
    flavour = match["flavour"]
    cudnn = row.cudnn if row else (match["major"] or None) if match["cudnn"] else None
    return ImageFacts(
        image=image,
        cuda=row.cuda if row else match["cuda"],
        libraries=flavour != "base" or match["cudnn"] is not None,
        cudnn=cudnn,
        cudnn_known=cudnn is not None or not match["cudnn"],
        sets_path=True,
    )


def _row(matrix: Matrix, match: re.Match[str]) -> BaseImage | None:
    """Return the table's row of the same CUDA with the same cuDNN label: one stands for all flavours and systems."""
    for row in matrix.data.images:
        other = _CUDA_TAG.fullmatch(row.tag) if row.image == "nvidia/cuda" else None
        if other and (other["cuda"], other["cudnn"]) == (match["cuda"], match["cudnn"]):
            return row
    return None

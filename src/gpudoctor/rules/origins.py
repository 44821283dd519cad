"""For which CUDA a library is built, and for which its consumer is, as far as names tell."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.matrix.claims import NeedsLibrary
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Present, value_of
from gpudoctor.model.loading import Library, Resolution
from gpudoctor.model.machine import Toolkit
from gpudoctor.rules.reading import Stock, consumer_version, items_of, major_of, numbers, plain_name

_SUFFIX = re.compile(r"-cu(\d+)$")
_FOLDER = re.compile(r"/nvidia/cu(\d+)/lib$")
# What people put into a toolkit's folder by hand: the folder's name does not tell for which CUDA they were built.
_NEVER_IN_A_TOOLKIT = ("cudnn", "nccl", "cusparselt", "nvshmem", "tensorrt")


def cuda_major(stock: Stock, matrix: Matrix, consumer: str) -> str | None:
    """Return the CUDA major that a consumer is built for: from its files, else from the libraries it asks for."""
    build = stock.build(consumer)
    if build and isinstance(build.cuda, Present) and numbers(build.cuda.value):
        return str(numbers(build.cuda.value)[0])
    for r in stock.resolutions:
        name = r.soname
        if r.consumer == consumer and r.family in ("cudart", "cublas", "nvrtc") and major_of(name):
            return major_of(name)
    version = consumer_version(stock, matrix, consumer)
    for subject in _subjects(matrix, consumer):
        for _, claim in matrix.facts(subject, NeedsLibrary, version):
            if claim.library in ("cudart", "cublas"):
                return claim.major
    return None


def _subjects(matrix: Matrix, consumer: str) -> tuple[str, ...]:
    known = matrix.consumers.get(consumer)
    return known.distributions if known else (consumer,)


def toolkit_of(stock: Stock, library: Library) -> Toolkit | None:
    """Return the CUDA toolkit whose part a library is; None for what lies in the system's own folders."""
    if library.family in _NEVER_IN_A_TOOLKIT or library.owner is not None:
        return None
    roots = [t for t in items_of(stock.toolkits) if t.directory.strip("/").count("/") > 0]
    inside = [t for t in roots if library.real_path.startswith(f"{t.directory}/")]
    return max(inside, key=lambda t: len(t.directory), default=None)


def cuda_of(stock: Stock, library: Library) -> str | None:
    """Return the CUDA major that a library is built for, where its package, folder or toolkit says so by name.

    Not to be confused with: the major version in its SONAME. `libcudnn.so.9`, `libcurand.so.10` and `libnccl.so.2` keep
    theirs from one CUDA to the next.
    """
    if library.owner is not None:
        if any(library.owner in pair.owners for pair in stock.shared_files):
            return None  # which of the two it is, GPD401 tells
        named = _SUFFIX.search(library.owner) or _FOLDER.search(posixpath.dirname(posixpath.normpath(library.path)))
        return named[1] if named else None
    toolkit = toolkit_of(stock, library)
    version = numbers(value_of(toolkit.version) or "") if toolkit else ()
    return str(version[0]) if version else None


def other_cuda_of(stock: Stock, matrix: Matrix, resolution: Resolution, library: Library) -> str | None:
    """Return the CUDA major of a library that is not its consumer's; None where they agree or nobody can tell.

    Who asks for libcublasLt.so.12 means CUDA 12, whatever the rest of the program is built for.
    """
    cuda = cuda_of(stock, library)
    if cuda in (None, major_of(plain_name(resolution))):
        return None
    return cuda if cuda_major(stock, matrix, resolution.consumer) not in (None, cuda) else None

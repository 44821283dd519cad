"""The Python environment and the variables as the probes read them."""

from __future__ import annotations

from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.fact import Fact


class Variable(Frozen, frozen=True, kw_only=True):
    """One environment variable of the allow-list.

    Attributes:
        name: Its name.
        value: Its value; empty is not the same as unset.
        source: `process`, or the option that set it.
    """

    name: str
    value: str
    source: str = "process"


class SearchElement(Frozen, frozen=True, kw_only=True):
    """One element of LD_LIBRARY_PATH, as the loader reads it.

    Attributes:
        index: Position, from 0.
        raw: As written.
        directory: After expansion; relative ones joined to the working directory. None for what cannot be expanded.
        state: What is there. `empty` and `relative` mean the working directory of the process decides.
        libraries: File names of GPU libraries in it.
    """

    index: int
    raw: str
    directory: str | None
    state: Literal["directory", "missing", "not-a-directory", "unreadable", "empty", "relative"]
    libraries: tuple[str, ...] = ()


class Interpreter(Frozen, frozen=True, kw_only=True):
    """The target interpreter, read from disk and never started.

    Attributes:
        executable: The path that starts it.
        real_executable: The file behind its links.
        prefix: The environment's root.
        base_prefix: The installation that the environment was made from (equal to prefix outside a venv).
        version: Python version.
        kind: What made it.
        site_dirs: Folders on sys.path that can hold distributions, in sys.path order, `.pth` and overlays included.
        path_unknowns: Why sys.path may hold more than site_dirs (import lines in `.pth` files, unreadable folders);
            not empty means that an absence is Unknown.
        elf_interpreter: PT_INTERP of the executable.
        secure_execution: True when set-user-id or file capabilities make the loader ignore LD_LIBRARY_PATH.
    """

    executable: str
    real_executable: str
    prefix: str
    base_prefix: str
    version: Fact[str]
    kind: Literal["venv", "conda", "system", "uv-overlay", "virtualenv"]
    site_dirs: tuple[str, ...]
    path_unknowns: tuple[str, ...] = ()
    elf_interpreter: Fact[str]
    secure_execution: Fact[bool]


class Distribution(Frozen, frozen=True, kw_only=True):
    """One installed distribution.

    Attributes:
        name: Canonical name (PEP 503).
        version: Version, local part included.
        site_dir: The folder that holds it.
        metadata_path: Its `.dist-info` or `.egg-info`.
        editable: Project folder of an editable install.
        requires: Requires-Dist lines on GPU packages (the pins that matter), as written.
    """

    name: str
    version: Fact[str]
    site_dir: str
    metadata_path: str
    editable: str | None = None
    requires: tuple[str, ...] = ()


class SharedFiles(Frozen, frozen=True, kw_only=True):
    """Files that two or more installed distributions both claim.

    Attributes:
        owners: Canonical names, sorted.
        count: How many files they share.
        example: One of the shared paths.
        on_disk: Owner whose recorded size or digest matches what is on disk, where one can be told.
    """

    owners: tuple[str, ...]
    count: int
    example: str
    on_disk: Fact[str]


class Build(Frozen, frozen=True, kw_only=True):
    """What a package's own files say about how it was built.

    Attributes:
        package: Import name of the consumer (`torch`, `ctranslate2`, `onnxruntime`, …).
        distribution: Distribution that owns it.
        version: Version from its files.
        gpu: Whether this build has GPU code at all.
        cuda: CUDA version of the build.
        cudnn: cuDNN version that it bundles, links or pins.
        architectures: GPU code in the build (`sm_80`, `compute_90`).
    """

    package: str
    distribution: str
    version: Fact[str]
    gpu: Fact[bool]
    cuda: Fact[str]
    cudnn: Fact[str]
    architectures: Fact[tuple[str, ...]]

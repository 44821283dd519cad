"""The explicit list of rules. What is not named here does not run."""

from __future__ import annotations

from gpudoctor.rules.accident import works_by_accident
from gpudoctor.rules.base import Rule
from gpudoctor.rules.container import container_no_gpu, wsl_libcuda
from gpudoctor.rules.driver import driver_kernel_mismatch, driver_missing, no_nvidia_gpu
from gpudoctor.rules.driver_use import driver_not_usable, driver_too_old, gpu_lost
from gpudoctor.rules.internal import internal_error
from gpudoctor.rules.libraries import unresolved_library, wrong_cuda_major, wrong_cudnn_major
from gpudoctor.rules.mixing import mixed_cuda_libraries, mixed_cudnn
from gpudoctor.rules.search_path import (
    empty_element,
    literal_element,
    missing_directory,
    path_ignored,
    shadowing,
)
from gpudoctor.rules.wheels import cpu_only_build, shared_files

# The rules on drift (GPD151, GPD251, …) need a lock file besides the snapshot: see gpudoctor.drift.rules.
RULES: tuple[Rule, ...] = (
    driver_missing,
    no_nvidia_gpu,
    driver_kernel_mismatch,
    driver_too_old,
    gpu_lost,
    driver_not_usable,
    unresolved_library,
    wrong_cudnn_major,
    wrong_cuda_major,
    mixed_cudnn,
    mixed_cuda_libraries,
    works_by_accident,
    cpu_only_build,
    shared_files,
    missing_directory,
    empty_element,
    shadowing,
    path_ignored,
    literal_element,
    container_no_gpu,
    wsl_libcuda,
    internal_error,
)


def find_rule(id_or_name: str, rules: tuple[Rule, ...] = RULES) -> Rule | None:
    """Return a rule by id (in any case) or by name."""
    wanted = id_or_name.strip()
    return next((r for r in rules if wanted.upper() == r.id or wanted.lower() == r.name), None)

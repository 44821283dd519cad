"""The explicit list of rules. What is not named here does not run."""

from __future__ import annotations

from gpudoctor.rules.accident import works_by_accident
from gpudoctor.rules.architectures import gpu_arch_unsupported, ptx_driver_too_old
from gpudoctor.rules.audio import ffmpeg_program_missing
from gpudoctor.rules.base import Rule
from gpudoctor.rules.conflicts import conflicting_releases, python_without_wheels
from gpudoctor.rules.container import container_no_gpu, wsl_libcuda
from gpudoctor.rules.container_host import container_lost_gpu, container_toolkit_missing
from gpudoctor.rules.damage import file_differs
from gpudoctor.rules.driver import driver_kernel_mismatch, driver_missing, no_nvidia_gpu
from gpudoctor.rules.driver_gpu import driver_without_gpu
from gpudoctor.rules.driver_refusal import driver_not_usable
from gpudoctor.rules.driver_use import driver_too_old, gpu_lost
from gpudoctor.rules.family import torch_family_mismatch
from gpudoctor.rules.gpu_state import fabric_manager, forward_compat, memory_errors
from gpudoctor.rules.imports import executable_stack, import_fails, system_library_too_old, torchcodec_without_ffmpeg
from gpudoctor.rules.internal import internal_error
from gpudoctor.rules.libraries import unresolved_library
from gpudoctor.rules.majors import wrong_cuda_major, wrong_cudnn_major
from gpudoctor.rules.mixing import mixed_cuda_libraries, mixed_cudnn
from gpudoctor.rules.models import compute_type_unsupported, gpu_memory
from gpudoctor.rules.other_cuda import library_of_another_cuda
from gpudoctor.rules.requirements import requirement_not_met
from gpudoctor.rules.search_path import (
    empty_element,
    literal_element,
    missing_directory,
    path_ignored,
    shadowing,
)
from gpudoctor.rules.visible_devices import visible_devices
from gpudoctor.rules.wheels import cpu_only_build, shared_files

# The rules on drift (GPD151, GPD251, …) need a lock file besides the snapshot: see gpudoctor.drift.rules.
RULES: tuple[Rule, ...] = (
    driver_missing,
    no_nvidia_gpu,
    driver_kernel_mismatch,
    driver_too_old,
    gpu_lost,
    driver_not_usable,
    ptx_driver_too_old,
    forward_compat,
    fabric_manager,
    memory_errors,
    driver_without_gpu,
    unresolved_library,
    wrong_cudnn_major,
    wrong_cuda_major,
    mixed_cudnn,
    mixed_cuda_libraries,
    works_by_accident,
    system_library_too_old,
    executable_stack,
    import_fails,
    library_of_another_cuda,
    cpu_only_build,
    gpu_arch_unsupported,
    compute_type_unsupported,
    shared_files,
    torch_family_mismatch,
    conflicting_releases,
    requirement_not_met,
    python_without_wheels,
    file_differs,
    missing_directory,
    empty_element,
    shadowing,
    path_ignored,
    literal_element,
    visible_devices,
    container_no_gpu,
    wsl_libcuda,
    container_toolkit_missing,
    container_lost_gpu,
    gpu_memory,
    torchcodec_without_ffmpeg,
    ffmpeg_program_missing,
    internal_error,
)


def find_rule(id_or_name: str, rules: tuple[Rule, ...] = RULES) -> Rule | None:
    """Return a rule by id (in any case) or by name."""
    wanted = id_or_name.strip()
    return next((r for r in rules if wanted.upper() == r.id or wanted.lower() == r.name), None)

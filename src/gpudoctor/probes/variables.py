"""Probe: the environment that the judged process will have, and which of its variables a snapshot may record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gpudoctor.model.environment import Variable
from gpudoctor.model.errors import InputFileError, UsageError
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable

PROCESS = "process"
ENV_OPTION = "--env"
ENV_FILE_OPTION = "--env-file"

ALLOWED_NAMES = frozenset(
    {
        "CONDA_PREFIX",
        "CUDA_CACHE_DISABLE",
        "CUDA_CACHE_MAXSIZE",
        "CUDA_CACHE_PATH",
        "CUDA_DEVICE_MAX_CONNECTIONS",
        "CUDA_DEVICE_ORDER",
        "CUDA_DISABLE_PTX_JIT",
        "CUDA_ENABLE_COREDUMP_ON_EXCEPTION",
        "CUDA_FORCE_PTX_JIT",
        "CUDA_HOME",
        "CUDA_LAUNCH_BLOCKING",
        "CUDA_MODULE_LOADING",
        "CUDA_MPS_PIPE_DIRECTORY",
        "CUDA_PATH",
        "CUDA_ROOT",
        "CUDA_VERSION",
        "CUDA_VISIBLE_DEVICES",
        "CUBLAS_WORKSPACE_CONFIG",
        "DYLD_LIBRARY_PATH",
        "GLIBC_TUNABLES",
        "LD_AUDIT",
        "LD_BIND_NOW",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "MKL_NUM_THREADS",
        "NVIDIA_DISABLE_REQUIRE",
        "NVIDIA_DRIVER_CAPABILITIES",
        "NVIDIA_REQUIRE_CUDA",
        "NVIDIA_TF32_OVERRIDE",
        "NVIDIA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PYTHONHOME",
        "PYTHONNOUSERSITE",
        "PYTHONPATH",
        "PYTHONSAFEPATH",
        "PYTORCH_ALLOC_CONF",
        "PYTORCH_CUDA_ALLOC_CONF",
        "PYTORCH_NVML_BASED_CUDA_CHECK",
        "VIRTUAL_ENV",
    }
)
ALLOWED_PREFIXES = ("CT2_", "CUDNN_", "NVBLAS_", "ORT_", "TORCH_")
# A last fence for the prefixes: what may hold a secret is not recorded, whoever named it so.
_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SINGLE_QUOTED = re.compile(r"'([^']*)'")
_ESCAPE = re.compile(r'\\([\\"$`])')
_FILE_LIMIT_BYTES = 1 << 20


class JudgedEnvironment(NamedTuple):
    """The environment variables of the process that is judged.

    Attributes:
        environment: All of them, for the loader and for probe children; never to be recorded.
        variables: Those that a snapshot records, by name.
    """

    environment: Mapping[str, str]
    variables: tuple[Variable, ...]


def judged_environment(
    system: ReadSystem, assignments: Iterable[str] = (), env_files: Iterable[str] = ()
) -> JudgedEnvironment:
    """Put together the environment to judge by.

    A later source wins: this process, then the files in order, then the assignments. With a file, those variables of
    this process that matter here do not count at all: the file says how a service starts, and a service does not
    inherit what this shell exported.

    Args:
        system: The machine.
        assignments: `NAME=VALUE`, as in `--env`.
        env_files: Paths, as in `--env-file`.

    Raises:
        UsageError: An assignment is not one.
        InputFileError: A file cannot be read, or a line of it is no assignment.
    """
    files = [pair for path in env_files for pair in read_env_file(system, path).items()]
    given = [parse_assignment(text) for text in assignments]
    folded = system.os_name == "windows"  # where names do not differ by case
    merged: dict[str, tuple[str, str]] = {
        name: (value, PROCESS) for name, value in system.environ().items() if not (env_files and is_allowed(name))
    }
    for source, pairs in ((ENV_FILE_OPTION, files), (ENV_OPTION, given)):
        for name, value in pairs:
            merged[name.upper() if folded else name] = (value, source)
    variables = tuple(
        Variable(name=name, value=encodable(value), source=source)
        for name, (value, source) in sorted(merged.items())
        if is_allowed(name)
    )
    return JudgedEnvironment({name: value for name, (value, _) in merged.items()}, variables)


def is_allowed(name: str) -> bool:
    """Tell whether a snapshot may record a variable."""
    if name in ALLOWED_NAMES:
        return True
    return name.startswith(ALLOWED_PREFIXES) and not _SECRET.search(name)


def parse_assignment(text: str) -> tuple[str, str]:
    """Take `NAME=VALUE` apart.

    Raises:
        UsageError: It has no `=`, or the name is none. The value, which may be a secret, is not repeated.
    """
    name, separator, value = text.partition("=")
    if not separator or not _NAME.fullmatch(name) or "\0" in value:
        raise UsageError(f"--env {name!r}: write NAME=VALUE (NAME= sets it to the empty text)")
    return name, value


def read_env_file(system: ReadSystem, path: str) -> dict[str, str]:
    """Read a file of assignments.

    Raises:
        InputFileError: It cannot be read, or a line of it is no assignment.
    """
    try:
        content = system.read_bytes(path, _FILE_LIMIT_BYTES + 1)
    except (NotThere, CannotLook) as error:
        raise InputFileError(f"--env-file {error}: it cannot be read") from error
    if len(content) > _FILE_LIMIT_BYTES:
        raise InputFileError(f"--env-file {path}: larger than {_FILE_LIMIT_BYTES >> 20} MiB, which no such file is")
    try:
        return parse_env_file(content.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise InputFileError(f"--env-file {path}: not UTF-8 text") from error


def parse_env_file(text: str, path: str) -> dict[str, str]:
    """Read what dotenv files, systemd's EnvironmentFile and docker's `--env-file` have in common.

    One assignment a line; `#` and `;` begin a comment line; `export` may stand before; quotes around a whole value are
    taken off. Nothing is expanded: systemd and docker do not, and `$ORIGIN` is the loader's.

    Args:
        text: The file's content.
        path: Its name, for messages.

    Raises:
        InputFileError: A line is no assignment; the message names file and line, and repeats no value.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        name, separator, raw = re.sub(r"^export\s+", "", stripped).partition("=")
        value = _unquote(raw.strip())
        if not separator or not _NAME.fullmatch(name) or value is None or "\0" in value:
            raise InputFileError(f"--env-file {path}, line {number}: expected NAME=VALUE on one line")
        found[name] = value
    return found


def _unquote(raw: str) -> str | None:
    """Return the value without its quotes or trailing comment; None for quotes that do not close."""
    if not raw.startswith(("'", '"')):
        return re.split(r"\s#", raw, maxsplit=1)[0].rstrip() if not raw.startswith("#") else ""
    single = raw[0] == "'"
    match = (_SINGLE_QUOTED if single else _DOUBLE_QUOTED).match(raw)
    if match is None:
        return None
    rest = raw[match.end() :].strip()
    if rest and not rest.startswith("#"):
        return None
    return match.group(1) if single else _ESCAPE.sub(r"\1", match.group(1))

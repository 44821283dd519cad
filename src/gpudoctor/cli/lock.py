"""`gpudoctor lock`: record a known-good state; `check --against` is its other half."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from gpudoctor.cli.common import (
    OUTPUT,
    AssumeDriverOption,
    AssumeGpuOption,
    BinaryOption,
    EnvFileOption,
    EnvOption,
    ForOption,
    MatrixOption,
    PythonOption,
    SnapshotOption,
    emit,
    request_for,
    say,
    take_or_read,
)
from gpudoctor.cli.configured import ConfigOption, NoConfigOption, Wishes, find_project, wishes_of

if TYPE_CHECKING:
    from gpudoctor.drift.lock import Lock
    from gpudoctor.model.snapshot import Snapshot
    from gpudoctor.rules.base import Rule

DEFAULT_FILE = "gpudoctor.lock"


class Driver(str, Enum):
    """How a later machine's driver, or GPUs, are compared with what is locked."""

    RECORDED = "recorded"
    MINIMUM = "minimum"
    EXACT = "exact"


def lock(
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    snapshot: SnapshotOption = None,
    assume_driver: AssumeDriverOption = None,
    assume_gpu: AssumeGpuOption = None,
    matrix_file: MatrixOption = None,
    driver: Annotated[
        Optional[Driver],  # noqa: UP045 - typer reads it at run time
        typer.Option(
            "--driver",
            help="What `check --against` wants of the driver: nothing, this release or a later one, exactly this one. "
            "Default: as in the file that is there, else nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    gpu: Annotated[
        Optional[Driver],  # noqa: UP045 - typer reads it at run time
        typer.Option(
            "--gpu",
            help="What `check --against` wants of the GPUs: nothing, as many of at least this compute capability, "
            "exactly these. Default: as in the file that is there, else nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    config: ConfigOption = None,
    no_config: NoConfigOption = False,
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="The lock file; '-' prints it.", rich_help_panel=OUTPUT),
    ] = DEFAULT_FILE,
) -> int:
    """Record a known-good state: distributions, native libraries by content, and who loads which.

    Absolute paths, host names and users never enter the file: commit it, and let CI run
    `gpudoctor check --against gpudoctor.lock`.

    Example: gpudoctor lock --python /srv/app/.venv
    """
    import msgspec

    from gpudoctor.drift.identity import digest_libraries
    from gpudoctor.drift.lock import capability_of, dump_lock
    from gpudoctor.drift.record import NO_DIGESTS, build_lock
    from gpudoctor.drift.weight import errors_of, words_of
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.system.real import RealSystem

    before = None if output == "-" else read_existing_lock(output)
    project = find_project(config, no_config)
    said = Wishes(consumers, env, env_file, assume_driver, assume_gpu, matrix_file)
    consumers, env, env_file, assume_driver, assume_gpu, matrix_file = wishes_of(project, said, snapshot=snapshot)
    matrix = load_matrix(matrix_file)
    taken = take_or_read(
        matrix,
        snapshot,
        request_for(
            python=python,
            consumers=consumers,
            binary=binary,
            env=env,
            env_file=env_file,
            assume_driver=assume_driver,
            assume_gpu=assume_gpu,
        ),
    )
    policy = driver.value if driver else before.driver.policy if before else "recorded"
    digests = NO_DIGESTS if snapshot is not None else digest_libraries(RealSystem(), taken)
    gpus = gpu.value if gpu else before.gpus.policy if before else "recorded"
    state = build_lock(taken, matrix.version, digests=digests, driver_policy=policy, gpu_policy=gpus)
    if policy != "recorded" and state.driver.release is None:
        raise UsageError(
            f"--driver {policy}: no driver release could be read here; name it with --assume-driver, or "
            "use --driver recorded"
        )
    if gpus != "recorded" and not (state.gpus.devices and all(map(capability_of, state.gpus.devices))):
        raise UsageError(
            f"--gpu {gpus}: no GPU, or not its compute capability, could be read here; name it with --assume-gpu, or "
            "use --gpu recorded"
        )
    errors = tuple(sorted({words_of(e) for e in errors_of(taken, matrix)}))
    state = msgspec.structs.replace(state, errors=errors)
    if before is not None:
        _check_same(before, state, output)
    emit(dump_lock(state), output, encoding="utf-8")
    if output != "-":
        say(f"{_change(before, state, output)}: {_summary(state)}")
    _warn(state)
    return 0


def _check_same(before: Lock, state: Lock, path: str) -> None:
    """Refuse to replace the lock of what is surely another environment: one whose consumers are all missing here.

    Raises:
        UsageError: It is.
    """
    from gpudoctor.model.errors import UsageError

    if before.consumers and not before.consumers.keys() & state.consumers.keys():
        raise UsageError(
            f"{path} is the lock of an environment with {', '.join(before.consumers)}, none of which is in this one: "
            "name the environment with --python, or another file with -o, or remove the lock"
        )


def _change(before: Lock | None, state: Lock, path: str) -> str:
    if before is None:
        return f"wrote {path}"
    if before == state:
        return f"{path} says this already"
    old, new = before.distributions.all(), state.distributions.all()
    counts = (
        (sum(name not in old for name in new), "added"),
        (sum(name not in new for name in old), "removed"),
        (sum(new.get(name, version) != version for name, version in old.items()), "changed"),
    )
    told = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f"replaced {path} ({f'distributions: {told}' if told else 'the distributions are the same'})"


def _warn(state: Lock) -> None:
    """Say what makes a state a doubtful one to compare others with."""
    if state.errors:
        told = "; ".join(state.errors[:3]) + ("; …" if len(state.errors) > 3 else "")
        say(f"warning: by the rules, this state is not a good one ({told}): `gpudoctor check` says more")
    if not state.consumers:
        say("warning: nothing in this environment uses a GPU; was another one meant? --python names it")


def _summary(state: Lock) -> str:
    counts = (
        (len(state.distributions.all()), "distribution", "distributions"),
        (len(state.library), "native library", "native libraries"),
        (len(state.resolution), "resolution", "resolutions"),
    )
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)


def read_lock(path: str) -> Lock:
    """Read a lock file that must be there.

    Raises:
        InputFileError: It is not there, cannot be read, or is no lock.
    """
    from gpudoctor.drift.lock import SIZE_LIMIT_BYTES, parse_lock
    from gpudoctor.model.errors import InputFileError
    from gpudoctor.system.protocol import CannotLook, NotThere
    from gpudoctor.system.real import RealSystem

    try:
        data = RealSystem().read_bytes(path, SIZE_LIMIT_BYTES + 1)
    except NotThere as error:
        raise InputFileError(f"{path}: no such lock file; `gpudoctor lock -o {path}` writes one") from error
    except CannotLook as error:
        raise InputFileError(f"cannot read the lock: {error.reason}") from error
    return parse_lock(data.decode("utf-8", "surrogateescape"), path)


def read_existing_lock(path: str) -> Lock | None:
    """Return the lock that is about to be replaced, or None when nothing is there.

    Raises:
        InputFileError: The file is something else: a slip of the hand must not replace pyproject.toml.
    """
    from gpudoctor.model.errors import InputFileError
    from gpudoctor.system.protocol import CannotLook, NotThere
    from gpudoctor.system.real import RealSystem

    try:
        status = RealSystem().stat(path)
    except NotThere:
        return None
    except CannotLook as error:
        raise InputFileError(f"cannot write the lock: {error.reason}") from error
    if status.kind != "file" or status.size_bytes == 0:
        return None  # /dev/stdout and the like; a folder is refused when it is written
    try:
        return read_lock(path)
    except InputFileError as error:
        raise InputFileError(f"{error} (not replaced; name another file with -o, or remove this one)") from error


def locked_rules(
    against: str, taken: Snapshot, *, consumers: tuple[str, ...] = (), live: bool = False
) -> tuple[Rule, ...]:
    """Return the rules that find drift from a lock file.

    Args:
        against: Path of the lock.
        taken: The present state.
        consumers: Compare only what these consumers load; empty for all.
        live: True when the snapshot was just taken on this machine, so that its libraries can be digested.

    Raises:
        InputFileError: The lock cannot be read.
    """
    from gpudoctor.drift.compare import bind_rules
    from gpudoctor.drift.identity import digest_libraries
    from gpudoctor.drift.record import NO_DIGESTS
    from gpudoctor.system.real import RealSystem

    state = read_lock(against)
    digests = digest_libraries(RealSystem(), taken, state) if live else NO_DIGESTS
    return bind_rules(state, digests=digests, consumers=consumers, path=against)

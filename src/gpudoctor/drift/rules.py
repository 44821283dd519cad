"""The rules of drift. They judge nothing on their own: with a lock, gpudoctor.drift.compare answers for them."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, NotApplicable
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule

NO_CAUSE = "drift from a lock has no cause of its own"


def _without_lock(_snapshot: Snapshot, _matrix: Matrix) -> tuple[Evaluation, ...]:
    return (NotApplicable("no lock was given"),)


DISTRIBUTION_DRIFT = Rule(
    id="GPD451",
    name="distribution-drift",
    title="An installed distribution is not the locked one",
    level="error",
    causes=(),
    page="""\
## What
A distribution was added, removed, or has another version than `gpudoctor.lock` records.

## Why it matters
ctranslate2, torch and onnxruntime each fit some releases of cuDNN and cuBLAS only. An unpinned reinstall that moves one
of them is how an environment that worked stops working without a change of code.

## How it is known
From the metadata on disk, name by name. Every difference is an error, save these, which are warnings: a distribution
that was added and has nothing to do with the GPU; one of which no fact of the matrix speaks (tqdm; not numpy), under
which no library changed; another patch release (the first two numbers are equal); and one that was added and did
nothing but bring what was missing when the lock was written. An error that, by the rules and the matrix, comes from it
makes each of the last three an error again. Three or more such additions are told as one. `matters` says what is
wrong with the present state and was not when it was locked (`errors` in the lock). The lock says what is part of the
GPU stack (`[distributions.gpu]`): whatever owns a GPU library, was built for a GPU, pins a GPU package, or is called
`nvidia-…`. Libraries and resolutions that changed with a distribution are listed under it. When
sys.path cannot be told from disk (an import line in a `.pth` file), a missing distribution is open, not removed.

## What to do
Install the locked version again; for packages of the GPU stack `gpudoctor fix --packages --to LOCK` does it. Or, if
the change is wanted, run `gpudoctor lock` and review the diff.
""",
    evaluate=_without_lock,
)

LIBRARY_DRIFT = Rule(
    id="GPD251",
    name="library-drift",
    title="A native library has another content than the locked one",
    level="error",
    causes=(),
    page="""\
## What
The file in the place that a consumer loads from is another build than the one that was locked, though the distribution
that owns it is the same, or nothing owns it.

## Why it matters
The names `libcudnn_ops.so.9` and `libcublas.so.12` do not change with their builds. A file that was copied over,
patched, or upgraded by the system's package manager is not seen by pip, and parts of two cuDNN builds do not load
together.

## How it is known
By size, version and GNU build id; a file without a build id (cuDNN's sub-libraries) by a digest over its size and its
first and last 64 KiB, taken when the lock was written and again now. One byte patched in the middle of such a file is
not seen. A snapshot file carries no digests: judged against a lock that has them, such a library is open. Files outside
the environment and the system's folders have no name in a lock and are compared by what each consumer loads.

## What to do
Reinstall the owner (`pip install --force-reinstall --no-deps`), or take the foreign file away; if the change is wanted,
run `gpudoctor lock` and review the diff.
""",
    evaluate=_without_lock,
)

RESOLUTION_DRIFT = Rule(
    id="GPD252",
    name="resolution-drift",
    title="A consumer loads another file than the locked one",
    level="error",
    causes=(),
    page="""\
## What
For one consumer and one library, the loader now answers something else: another copy, another search rule, nothing at
all, or an opening that the lock does not know.

## Why it matters
Two copies of cuDNN in one environment are common (a wheel's and the system's). Which one is loaded depends on
LD_LIBRARY_PATH, the loader's cache and who loaded what before; the installed packages say nothing about it.

## How it is known
The loader is emulated, and its answers are compared by role (consumer, scenario, opening) and by place, never by
absolute path: the same environment in another folder, of another user, shows no drift. What changed because of a
distribution, LD_LIBRARY_PATH or a library file is listed under that. An answer that cannot be told now, or could not
when the lock was written, is open. A library that was missing in a state which its lock calls wrong (`errors`), and
that is found now (a repair), is a warning, unless something else is wrong with its consumer now. Open, too, is an
opening that only one side has when the lock was written with another compatibility matrix.

## What to do
`gpudoctor libs -v` shows the places searched now. Restore the search path, or run `gpudoctor lock` and review the diff.
""",
    evaluate=_without_lock,
)

SEARCH_PATH_DRIFT = Rule(
    id="GPD551",
    name="search-path-drift",
    title="LD_LIBRARY_PATH is not the locked one",
    level="error",
    causes=(),
    page="""\
## What
LD_LIBRARY_PATH has other elements, another order, or an element that is no longer what it was.

## Why it matters
It comes before RUNPATH, the loader's cache and the default folders, for every program that inherits it. A service that
starts without the shell's setting, or with one more element in front, loads other files.

## How it is known
The value is compared element by element, by place: `{site}/nvidia/cudnn/lib` is the same in every copy of the
environment. A folder outside the environment and the system has no name in a lock; it is told by the GPU libraries in
it. What resolves differently because of the change is listed under it.

## What to do
Set the variable as it was (in the service's unit, the container, the CI job), or judge with it: `gpudoctor check --env
LD_LIBRARY_PATH=…`. If the change is wanted, run `gpudoctor lock` and review the diff.
""",
    evaluate=_without_lock,
)

INTERPRETER_DRIFT = Rule(
    id="GPD452",
    name="interpreter-drift",
    title="The Python interpreter is not the locked one",
    level="error",
    causes=(),
    page="""\
## What
The environment runs on another Python version or implementation than the locked one.

## Why it matters
Binary wheels are built for one minor version. Another one installs other files, or none.

## How it is known
From the environment's files. Another minor version or implementation is an error; another patch release, which shares
all wheels, is a warning.

## What to do
Make the environment again with the locked Python; or run `gpudoctor lock` and review the diff.
""",
    evaluate=_without_lock,
)

DRIVER_DRIFT = Rule(
    id="GPD151",
    name="driver-drift",
    title="The NVIDIA driver does not meet what the lock asks for",
    level="error",
    causes=(),
    page="""\
## What
The driver release is older than the lock's minimum, or is not exactly the locked one.

## Why it matters
A CUDA runtime needs a driver of its age or later. A state that worked on 550 may not start on 470.

## How it is known
From the driver release in the snapshot, compared as whole numbers, under the lock's `driver.policy`: `recorded` (the
default) compares nothing, `minimum` wants the locked release or a later one, `exact` wants the same one. Without a
driver the question is open; `--assume-driver` answers it for the machine that will run.

## What to do
Update the driver, or edit `driver.policy` in the lock.
""",
    evaluate=_without_lock,
)

GPU_DRIFT = Rule(
    id="GPD152",
    name="gpu-drift",
    title="The GPUs do not meet what the lock asks for",
    level="error",
    causes=(),
    page="""\
## What
This machine has fewer GPUs than the lock wants, an older one, or others.

## Why it matters
Wheels hold code for some compute capabilities only, and a compute type that was chosen for one GPU is slower or
missing on another. A fleet that was one kind of machine when the service was measured may be two by now.

## How it is known
From the GPUs in the snapshot, under the lock's `gpus.policy`: `recorded` (the default) compares nothing, `minimum`
wants as many GPUs, each of at least the least compute capability that is locked, `exact` wants the same names and
capabilities. Where the GPUs cannot be read the question is open; `--assume-gpu` answers it for the machine that will
run.

## What to do
Run on a machine of the locked kind, or edit `gpus.policy` in the lock.
""",
    evaluate=_without_lock,
)

DRIFT_RULES: tuple[Rule, ...] = (
    DRIVER_DRIFT,
    GPU_DRIFT,
    LIBRARY_DRIFT,
    RESOLUTION_DRIFT,
    DISTRIBUTION_DRIFT,
    INTERPRETER_DRIFT,
    SEARCH_PATH_DRIFT,
)

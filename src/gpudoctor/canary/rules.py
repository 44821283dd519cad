"""The rules of the deep check. They judge nothing on their own: gpudoctor.canary.judge answers for them."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, NotApplicable
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule


def _not_asked(_snapshot: Snapshot, _matrix: Matrix) -> tuple[Evaluation, ...]:
    return (NotApplicable("check --deep was not asked for"),)


canary_failed = Rule(
    id="GPD211",
    name="canary-failed",
    title="A call that a consumer makes fails when it is tried, and no file tells why",
    level="error",
    causes=(
        "cudnn-not-loadable",
        "cudnn-mixed",
        "cuda-lib-not-loadable",
        "cuda-libs-mixed",
        "glibc-too-old",
        "libstdcxx-too-old",
        "exec-stack",
        "numpy-abi",
        "driver-missing",
        "driver-too-old",
        "no-nvidia-gpu",
        "fabric-manager",
        "forward-compat",
        "driver-state-broken",
    ),
    page="""\
## What
`check --deep` made the calls that a consumer makes at its first work on the GPU, each in a process of its own, and one
of these processes aborted, crashed, hung, or answered with an error that none of the other findings explains.

## Why it matters
The service will end the same way, at its first transcription and not at its start: `import` succeeds, because these
libraries are opened by name while running.

## How it is known
It was tried: in the target's interpreter, with the judged environment. The evidence holds the call, the signal and the
last words of the process. No GPU is needed for it: the libraries are opened before a device is asked for. A step that
fails for what another finding says is evidence of that finding, which then is `proved`, and gives none of its own.
The cause is named where the words are plain. An abort with "Unable to load any of {…}" is not: cuDNN says so also when
the file is there and a symbol in it is missing, and keeps the loader's reason to itself. SIGBUS mostly means a file
that is cut short, SIGSEGV a library that is loaded but broken or of another build.

## What to do
Read the last words. For a library: `gpudoctor libs -v` shows which file each name leads to. For a SIGBUS or SIGSEGV:
install the package that owns the file again. For a hang: look at the driver first (`nvidia-smi`); a driver that hangs
makes every consumer hang.
""",
    evaluate=_not_asked,
    required=False,
)

version_disagrees = Rule(
    id="GPD212",
    name="version-disagrees",
    title="A library reports another version than its package",
    level="warning",
    causes=(),
    page="""\
## What
A loaded library says of itself (`cudnnGetVersion`, `cublasGetProperty`, `cudaRuntimeGetVersion`, `nvrtcVersion`) that
it is another version than the distribution that owns the file, or than its file name.

## Why it matters
What is installed is then not what pip believes: a file was copied over, a link leads elsewhere, or two packages wrote
the same path. Pins and lock files say nothing true about such an environment, and parts of two builds do not load
together.

## How it is known
`check --deep` asked the library itself, in the process in which the consumer had loaded it. As many parts of the
version are compared as both sides name: 9.1.0 and 9.1.0.70 agree.

## What to do
Install the owner of the file again (`pip install --force-reinstall --no-deps`). If the file was replaced on purpose,
install the package of that version instead.
""",
    evaluate=_not_asked,
    required=False,
)

emulator_disagrees = Rule(
    id="GPD213",
    name="emulator-disagrees",
    title="The real loader did otherwise than gpudoctor predicted",
    level="note",
    causes=(),
    page="""\
## What
`check` predicts from the files which library each name leads to. `check --deep` saw the loader do something else.

## Why it matters
One of three is the case: gpudoctor's emulation is wrong, the machine changed between the two looks, or something in the
target's start (an import line of a `.pth` file, `sitecustomize`, an import hook) loads or redirects libraries, which no
look at files can tell. What was tried counts; what was read is the lesser witness.

## How it is known
After each step the libraries mapped into its process were compared with the prediction. The step was run once more
under `LD_DEBUG=libs,files`, and what the loader told of the library is attached.

Another finding that says that a library cannot be loaded becomes a note when every library that it names was loaded, in
every kind of process that was tried. If only one of them was not, or was not tried, the finding keeps its level.

## What to do
Nothing on the machine. If no `.pth` file or import hook explains it, please report it with the trace.
""",
    evaluate=_not_asked,
    required=False,
)

CANARY_RULES: tuple[Rule, ...] = (canary_failed, version_disagrees, emulator_disagrees)

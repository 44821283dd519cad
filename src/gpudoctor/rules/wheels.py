"""GPD301, GPD401: a build without GPU code, and two packages that own the same files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from gpudoctor.matrix.claims import Conflicts
from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.matrix.types import Fact as MatrixFact
from gpudoctor.model.environment import Build, Distribution
from gpudoctor.model.fact import Fact, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fix, Level, NotApplicable, Open, Pass, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.gpu_code import torch_build
from gpudoctor.rules.pages import environment as pages
from gpudoctor.rules.reading import (
    TORCH_MODELS,
    consumer_subject,
    evidence,
    has_gpu,
    is_installed,
    label,
    listed,
    numbers,
    sys_path_doubt,
)
from gpudoctor.rules.remedies import pip_command, quoted

_CUDA_WHEEL = re.compile(r"nvidia-(cublas|cudnn|cuda-runtime|cuda-nvrtc)(-cu\d+)?|onnxruntime-gpu")
_ONNX_CPU = re.compile(r"onnxruntime(?![\w.-])", re.IGNORECASE)
_CUDNN_CUDA = re.compile(r"nvidia-cudnn-cu(\d+)")


# --- GPD301 ----------------------------------------------------------------------------------------------------------


def _cpu_only(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    builds = [b for b in snapshot.builds if b.package in ("torch", "ctranslate2", "onnxruntime")]
    if not builds:
        return (NotApplicable("no package that has both CPU and GPU builds is installed"),)
    wheels = sorted({d.name for d in snapshot.distributions if _CUDA_WHEEL.fullmatch(d.name)})
    if not wheels and not has_gpu(snapshot):
        return (NotApplicable("no GPU and no CUDA package: nothing says that a GPU is meant"),)
    return tuple(_judge_build(snapshot, matrix, b, wheels) for b in builds)


def _judge_build(snapshot: Snapshot, matrix: Matrix, build: Build, wheels: list[str]) -> Evaluation:
    match build.gpu:
        case Present(value=False):
            level = _build_level(snapshot, build)
            return _fail_build(snapshot, matrix, build, wheels, level) if level else Pass(build.package)
        case Present():
            return Pass(build.package)
        case Unknown(reason=reason):
            return Open(f"{build.package}: nobody can tell whether it is a GPU build: {reason}", build.package)
        case _:
            return NotApplicable(f"{build.package} has no native code here")


def _build_level(snapshot: Snapshot, build: Build) -> Level | None:
    """Return how bad a CPU build is; None when it is what somebody asked for."""
    if build.package == "onnxruntime":
        # faster-whisper's voice detection wants the CPU package; both packages together are GPD401's.
        wanted = is_installed(snapshot, "onnxruntime-gpu") or _cpu_onnx_is_required(snapshot)
        return None if wanted else "note"
    if not has_gpu(snapshot):
        return "warning"
    if build.package == "torch" and not is_installed(snapshot, *TORCH_MODELS):
        return "warning"
    return "error"


def _cpu_onnx_is_required(snapshot: Snapshot) -> bool:
    if is_installed(snapshot, "faster-whisper"):
        return True
    return any(_ONNX_CPU.match(line) and "extra ==" not in line for d in snapshot.distributions for line in d.requires)


def _fail_build(snapshot: Snapshot, matrix: Matrix, build: Build, wheels: list[str], level: Level) -> Evaluation:
    cuda, version = value_of(build.cuda), value_of(build.version)
    meant = "there is an NVIDIA GPU" if has_gpu(snapshot) else f"CUDA packages are installed ({listed(wheels)})"
    return cpu_only_build.fail(
        consumer_subject(build.package),
        f"{label(snapshot, matrix, build.package)} is a build without GPU code, although {meant}: "
        f"it will run on the CPU{_refusal(build.package)}.",
        cause="cpu-only-build",
        level=level,
        evidence=evidence(
            ("distribution", f"{build.distribution} {version or ''}".strip()),
            ("CUDA of the build", cuda or "none"),
            ("CUDA packages", ", ".join(wheels)),
        ),
        fixes=(_gpu_build(snapshot, matrix, build),),
    )


def _refusal(package: str) -> str:
    if package == "torch":
        return ", or stop with “Torch not compiled with CUDA enabled”"
    if package == "ctranslate2":
        return ", or stop with “This CTranslate2 package was not compiled with CUDA support”"
    return ""


def _gpu_build(snapshot: Snapshot, matrix: Matrix, build: Build) -> Fix:
    if build.package == "ctranslate2":
        arm = snapshot.host.machine in ("aarch64", "arm64")
        title = (
            "Build CTranslate2 from source with CUDA: its wheels for this processor have no GPU code"
            if arm
            else "Install a CTranslate2 wheel from the package index"
        )
        return Fix(title=title, applicability="display-only")
    if build.package == "onnxruntime":
        commands = (pip_command(snapshot, "-y onnxruntime", "uninstall"), pip_command(snapshot, "onnxruntime-gpu"))
        return Fix(title="Replace onnxruntime by onnxruntime-gpu", applicability="unsafe", commands=commands)
    version = (value_of(build.version) or "").partition("+")[0]
    pinned = torch_build(snapshot, matrix, build) or (quoted(f"torch=={version}") if version else "torch")
    return Fix(
        title="Install the CUDA build of the same torch (and of torchaudio and torchvision, if they are there)",
        applicability="unsafe",
        commands=(pip_command(snapshot, "-y torch", "uninstall"), pip_command(snapshot, pinned)),
    )


# --- GPD401 ----------------------------------------------------------------------------------------------------------


def _shared(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    pairs = tuple(_conflicting_pairs(snapshot, matrix))
    if pairs:
        return tuple(_judge_pair(snapshot, *pair) for pair in pairs)
    if not snapshot.distributions:
        doubt = sys_path_doubt(snapshot)
        return (Open(f"the distributions could not be read: {doubt}") if doubt else NotApplicable("no distributions"),)
    return (Pass("distributions"),)


def _conflicting_pairs(
    snapshot: Snapshot, matrix: Matrix
) -> Iterator[tuple[MatrixFact, Conflicts, Distribution, Distribution]]:
    """Yield the installed pairs of which a fact says that they write the same files into one folder.

    Only those: that two wheels both bring an empty `nvidia/__init__.py` harms nobody.
    """
    known = [f for f in matrix.data.facts if isinstance(f.claim, Conflicts) and f.claim.shares_files]
    for fact in known:
        claim = fact.claim
        one = snapshot.distribution(fact.subject)
        if not isinstance(claim, Conflicts) or one is None:
            continue
        other = snapshot.distribution(claim.package)
        if other is None or other.site_dir != one.site_dir:
            continue
        if matches_version(fact.when.versions, value_of(one.version)) and matches_version(
            claim.versions, value_of(other.version)
        ):
            yield fact, claim, one, other


def _judge_pair(
    snapshot: Snapshot, fact: MatrixFact, claim: Conflicts, one: Distribution, other: Distribution
) -> Evaluation:
    seen = next((s for s in snapshot.shared_files if {one.name, other.name} <= set(s.owners)), None)
    on_disk: Fact[str] = seen.on_disk if seen else Unknown("their lists of files were not compared")
    winner = value_of(on_disk)
    wanted = claim.keep or _wanted_cudnn(snapshot, one.name, other.name)
    works = winner is not None and winner == wanted
    return shared_files.fail(
        Subject(kind="distribution", name=f"{one.name}, {other.name}"),
        f"{_named(one)} and {_named(other)} write the same files into one folder, "
        f"so only one of them is really there: {_winner_words(winner, wanted)}.",
        cause="cpu-only-build" if claim.keep else "cudnn-cuda-mismatch",
        level="warning" if works else "error",
        confidence="read" if seen else "table",
        evidence=evidence(
            ("shared files", f"{seen.count}, such as {seen.example}" if seen else None),
            ("on disk", winner or (on_disk.reason if isinstance(on_disk, Unknown) else "neither")),
            ("folder", one.site_dir),
        ),
        facts=(fact.id,),
        consequences=("removing one of them deletes files of the other, and `pip check` notices nothing",),
        fixes=(_keep_one(snapshot, wanted or winner, one, other),),
    )


def _named(distribution: Distribution) -> str:
    version = value_of(distribution.version)
    return f"{distribution.name} {version}" if version else distribution.name


def _winner_words(winner: str | None, wanted: str | None) -> str:
    if winner is None:
        return "nobody can tell which, and the next install or uninstall may swap them"
    if wanted is None:
        return f"now it is {winner}; the next install or uninstall may swap them"
    if winner == wanted:
        return f"now it is {winner}, which is the right one, until the next install or uninstall swaps them"
    if wanted == "onnxruntime-gpu":
        return f"now it is {winner}, so onnxruntime runs on the CPU"
    return f"now it is {winner}, but the CUDA in use here wants {wanted}"


def _wanted_cudnn(snapshot: Snapshot, *names: str) -> str | None:
    """Return which cuDNN package fits the CUDA major that all consumers are built for, if they agree."""
    majors = {
        str(numbers(b.cuda.value)[0]) for b in snapshot.builds if isinstance(b.cuda, Present) and numbers(b.cuda.value)
    }
    fitting = [n for n in names if (match := _CUDNN_CUDA.fullmatch(n)) and match.group(1) in majors]
    return fitting[0] if len(majors) == 1 and fitting else None


def _keep_one(snapshot: Snapshot, keep: str | None, one: Distribution, other: Distribution) -> Fix:
    both = shlex.join((one.name, other.name))
    if keep is None:
        return Fix(
            title=f"Decide for {one.name} or {other.name}, remove both, install the chosen one anew",
            applicability="display-only",
            commands=(pip_command(snapshot, f"-y {both}", "uninstall"),),
        )
    version = value_of(one.version if one.name == keep else other.version)
    pinned = quoted(f"{keep}=={version}") if version else keep
    return Fix(
        title=f"Remove both, then install {keep} anew: removing only one takes files of the other with it",
        applicability="unsafe",
        commands=(
            pip_command(snapshot, f"-y {both}", "uninstall"),
            pip_command(snapshot, f"--no-deps {pinned}"),
        ),
    )


cpu_only_build = Rule(
    id="GPD301",
    name="cpu-only-build",
    title="A build without GPU code where a GPU is meant",
    level="warning",
    causes=("cpu-only-build",),
    page=pages.GPD301,
    evaluate=_cpu_only,
)
shared_files = Rule(
    id="GPD401",
    name="shared-files",
    title="Two installed packages own the same files",
    level="error",
    causes=("cpu-only-build", "cudnn-cuda-mismatch"),
    page=pages.GPD401,
    evaluate=_shared,
)

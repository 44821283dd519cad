"""Cases of the rules on packages, their releases and their system libraries: see test_rule_cases.py."""

from __future__ import annotations

from typing import Any

from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.loading import ImportFault
from gpudoctor.model.snapshot import Snapshot
from unit.rules.builders import (
    BLIND,
    CU13,
    CUBLAS,
    CUDNN,
    SITE,
    Parts,
    build,
    ct2_cublas,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cudnn9,
    dist,
    installed,
    interpreter,
    lib,
    machine,
    replace,
    search_path,
    torch,
    with_,
)

BARE_CT2 = with_(machine(), ctranslate2())
RESOLVED = with_(machine(), ctranslate2(), cublas12(), ct2_cublas(CUBLAS))
CODEC = Parts(distributions=(dist("torchcodec", "0.7.0"),), builds=(build("torchcodec", "0.7.0", None, gpu=False),))


def fault(consumer: str, failure: str, culprit: str, reason: str, **changes: Any) -> ImportFault:
    """An import that fails for want of something that is no GPU library."""
    usual = ImportFault(
        consumer=consumer,
        scenario="alone",
        file=f"{SITE}/{consumer}/_ext.cpython-311-x86_64-linux-gnu.so",
        failure=failure,  # type: ignore[arg-type]
        culprit=culprit,
        reason=reason,
    )
    return replace(usual, **changes)


def old_cxx(path: str = "/opt/old/libstdc++.so.6") -> ImportFault:
    reason = f"{path}: version `GLIBCXX_3.4.32' not found (required by {SITE}/ctranslate2.libs/libctranslate2.so.4)"
    return fault("ctranslate2", "symbol-version", "libstdc++.so.6", reason)


def old_libc() -> ImportFault:
    reason = "/lib/libc.so.6: version `GLIBC_2.38' not found (required by /x/libctranslate2.so.4)"
    return fault("ctranslate2", "symbol-version", "libc.so.6", reason)


def stack() -> ImportFault:
    name = "libctranslate2-d3638643.so.4.4.0"
    return fault("ctranslate2", "exec-stack", name, f"{SITE}/ctranslate2.libs/{name} asks for an executable stack")


def no_ffmpeg(**changes: Any) -> ImportFault:
    name = "libavutil.so.59"
    file = f"{SITE}/torchcodec/libtorchcodec_core7.so"
    given = {"group": "ffmpeg", "file": file, **changes}
    return fault("torchcodec", "missing", name, f"{name}: cannot open shared object file", **given)


def family(other: str = "2.11.0", cuda: str | None = "13.0", torch_: tuple[str, str] = ("2.5.1", "12.4")) -> Snapshot:
    """torch and a torchaudio."""
    audio = Parts(
        distributions=(dist("torchaudio", other),),
        builds=(build("torchaudio", other, cuda, gpu=cuda is not None),),
    )
    return with_(machine(), torch(*torch_), audio)


def blind_audio() -> Snapshot:
    seen = family("2.11.0", "13.0", ("2.11.0", "13.0"))
    audio = replace(build("torchaudio", "2.11.0", None), cuda=BLIND, gpu=BLIND)
    return replace(seen, builds=(*(b for b in seen.builds if b.package != "torchaudio"), audio))


def changed_cudnn(recorded: int | Unknown | Absent) -> Snapshot:
    parts = cudnn9()
    files = tuple(
        replace(x, recorded_bytes=Present(recorded) if isinstance(recorded, int) else recorded) for x in parts.libraries
    )
    return with_(machine(), ctranslate2("4.8.5"), replace_parts(parts, files))


def replace_parts(parts: Parts, files: tuple[Any, ...]) -> Parts:
    return Parts(distributions=parts.distributions, libraries=files)


def whisper(*others: str, requires: tuple[str, ...] = ("ctranslate2<5,>=4.0", "onnxruntime<2,>=1.14")) -> Snapshot:
    faster = Parts(distributions=(dist("faster-whisper", "1.2.1", requires),))
    return with_(machine(), faster, installed(*others))


NEWER_PYTHON = Present(interpreter(version=Present("3.13.1")))


def cudnn_for(cuda: str, *companions: str) -> Snapshot:
    """ctranslate2 4.6.0, built for CUDA 12, that gets the cuDNN 9 of one CUDA."""
    found = with_(
        machine(),
        ctranslate2(),
        cudnn9("9.19.0.56", owner=f"nvidia-cudnn-cu{cuda}"),
        cublas12(),
        ct2_cudnn9(CUDNN),
        ct2_cublas(CUBLAS),
        Parts(libraries=tuple(lib(f"{CU13}/{name}", "cublas", "13.1.0.3", "nvidia-cublas") for name in companions)),
    )
    return search_path(found, f"{CUDNN}:{CUBLAS}")


PACKAGE_CASES: dict[str, dict[str, Snapshot]] = {
    "GPD703": {
        "fail": with_(machine(ffmpeg=Absent(("/usr/bin/ffmpeg",))), installed("openai-whisper==20250625")),
        "pass": with_(machine(ffmpeg=Present("/usr/bin/ffmpeg")), installed("openai-whisper==20250625")),
        "not-applicable": machine(ffmpeg=Absent()),
        "open": with_(machine(ffmpeg=BLIND), installed("whisperx==3.4.2")),
    },
    "GPD210": {
        "fail": cudnn_for("13"),
        "pass": cudnn_for("12"),
        "not-applicable": with_(machine(), ctranslate2("4.8.5"), ct2_cublas("/usr/lib")),
        "open": with_(
            machine(), ctranslate2("4.8.5"), ct2_cublas(None, outcome="unknown", reason="the cache cannot be read")
        ),
    },
    "GPD207": {
        "fail": replace(BARE_CT2, import_faults=(old_cxx(),)),
        "pass": RESOLVED,
        "not-applicable": machine(),
        "open": BARE_CT2,
    },
    "GPD208": {
        "fail": replace(BARE_CT2, import_faults=(stack(),)),
        "pass": RESOLVED,
        "not-applicable": machine(),
        "open": BARE_CT2,
    },
    "GPD209": {
        "fail": replace(
            BARE_CT2, import_faults=(fault("ctranslate2", "missing", "libgomp.so.1", "libgomp.so.1: not there"),)
        ),
        "pass": RESOLVED,
        "not-applicable": machine(),
        "open": replace(
            BARE_CT2,
            import_faults=(fault("ctranslate2", "missing", "libgomp.so.1", "not there", doubt="LD_AUDIT is set"),),
        ),
    },
    "GPD402": {
        "fail": family(),
        "pass": family("2.5.1", "12.4"),
        "not-applicable": with_(machine(), torch()),
        "open": blind_audio(),
    },
    "GPD403": {
        "fail": with_(machine(), torch("2.2.2", "12.1"), installed("numpy==2.1.3")),
        "pass": with_(machine(), torch("2.2.2", "12.1"), installed("numpy==1.26.4")),
        "not-applicable": with_(machine(), torch()),
        "open": with_(machine(), torch("2.2.0a0+81ea7a4", "12.3"), installed("numpy==2.1.3")),
    },
    "GPD404": {
        "fail": whisper("ctranslate2==3.24.0", "onnxruntime==1.20.1"),
        "pass": whisper("ctranslate2==4.6.0", "onnxruntime-gpu==1.20.1"),
        "not-applicable": machine(),
        "open": with_(machine(), Parts(distributions=(dist("whisperx", None),))),
    },
    "GPD405": {
        "fail": with_(
            machine(interpreter=Present(interpreter(version=Present("3.13.1")))), installed("whisperx==3.4.2")
        ),
        "pass": with_(machine(), installed("whisperx==3.4.2")),
        "not-applicable": machine(),
        "open": with_(machine(interpreter=Present(interpreter(version=BLIND))), installed("whisperx==3.4.2")),
    },
    "GPD406": {
        "fail": changed_cudnn(77),
        "pass": changed_cudnn(1 << 20),
        "not-applicable": machine(),
        "open": changed_cudnn(BLIND),
    },
    "GPD702": {
        "fail": replace(with_(machine(), torch(), CODEC), import_faults=(no_ffmpeg(),)),
        "pass": with_(machine(), torch(), CODEC),
        "not-applicable": with_(machine(), torch()),
        "open": replace(with_(machine(), torch(), CODEC), import_faults=(no_ffmpeg(doubt="no ld.so.cache"),)),
    },
}

# Not a finding, whatever else: each of these is a healthy environment as far as the rule in question goes.
QUIET: dict[str, tuple[str, Snapshot]] = {
    "a torchaudio without CUDA": ("GPD402", family("2.5.1", None)),
    "torchvision compares only the major": (
        "GPD402",
        with_(
            machine(),
            torch("2.15.0", "13.2"),
            Parts(distributions=(dist("torchvision", "0.29.2"),), builds=(build("torchvision", "0.29.2", "13.0"),)),
        ),
    ),
    "NVIDIA's own builds": ("GPD402", family("2.6.0a0+1234567", "12.6", ("2.6.0a0+ecf3bae40a.nv25.1", "12.8"))),
    "a newer cuDNN than torch pins": (
        "GPD404",
        with_(
            machine(),
            torch(requires=("nvidia-cudnn-cu12==9.1.0.70",)),
            cudnn9("9.10.2.21"),
            installed("ctranslate2==4.6.0"),
        ),
    ),
    "a requirement for another system": (
        "GPD404",
        with_(machine(), torch(requires=('triton==3.1.0; platform_system == "Windows"', 'torch-x>9; extra == "opt"'))),
    ),
    "a marker that nobody can read": ("GPD404", with_(machine(), torch(requires=("torchx>9; what is this",)))),
    "packages without native files in conda": (
        "GPD404",
        replace(whisper(), interpreter=Present(interpreter(kind="conda"))),
    ),
    "two packages that write one file": ("GPD406", changed_cudnn(1 << 20)),
    "a library of which no size was recorded": ("GPD406", changed_cudnn(Absent())),
    "no interpreter": ("GPD405", machine(interpreter=Absent(), distributions=())),
    "cuDNN on the path": ("GPD406", with_(machine(), cudnn9("9.1.0.70", CUDNN))),
}

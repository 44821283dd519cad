"""The emulator against the real loader on real wheels, under every search path that goes wrong in practice.

Each case is predicted first. Then the environment's own interpreter opens the same objects through ctypes, and calls
the functions of cuDNN's dispatch library that make it open its parts by name.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpudoctor.loader.emulation import Emulation
from gpudoctor.loader.mapped import Mapped
from gpudoctor.loader.process import Process
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.target import Target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.system.real import RealSystem
from support.ldtrace import Asked, differences, parse_trace
from support.wheels import nvidia_dirs, site_packages, wheel_env

pytestmark = pytest.mark.wheels

_DRIVER = """
import ctypes, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
opened = []
for step in sys.argv[1:]:
    kind, _, what = step.partition("=")
    if kind == "open":
        try:
            opened.append(ctypes.CDLL(what, mode=1))
        except OSError:
            opened.append(None)
    else:
        number, _, function = what.partition(",")
        handle = ctypes.c_void_p()
        getattr(opened[int(number)], function)(ctypes.byref(handle))
"""


@dataclass
class Plan:
    """What a process will do: open files, and call functions that make an object open names."""

    steps: list[str] = field(default_factory=list)
    calls: dict[int, tuple[int, tuple[tuple[str, ...], ...]]] = field(default_factory=dict)
    constructors: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    opened: int = 0

    def open(self, path: str, *constructors: tuple[str, str]) -> int:
        """Open a file; a constructor is an object below it and the name that it opens when it is loaded."""
        self.constructors[len(self.steps)] = constructors
        self.steps.append(f"open={path}")
        self.opened += 1
        return self.opened - 1

    def call(self, library: int, function: str, *names: tuple[str, ...]) -> None:
        """Call a function that opens one of each group of names on the library's behalf, or aborts."""
        self.calls[len(self.steps)] = (library, names)
        self.steps.append(f"call={library},{function}")


def only(root: Path, pattern: str) -> str:
    return str(next(iter(sorted(root.glob(pattern)))))


def part(name: str) -> tuple[str, ...]:
    return tuple(f"libcudnn_{name}.so{version}" for version in (".9.1.0", ".9.1", ".9", ""))


def plan_cudnn9(site: Path) -> Plan:
    plan = Plan()
    plan.open(only(site, "ctranslate2/_ext*.so"), ("libctranslate2-", "libmpi.so.40"))
    shim = plan.open(only(site, "ctranslate2.libs/libcudnn-*.so.9*"))
    plan.call(shim, "cudnnGetErrorString", part("graph"))
    plan.call(shim, "cudnnCreateTensorDescriptor", part("ops"))
    plan.call(shim, "cudnnCreateConvolutionDescriptor", part("cnn"))
    return plan


def plan_cudnn8(site: Path) -> Plan:
    plan = Plan()
    plan.open(only(site, "ctranslate2/_ext*.so"), ("libctranslate2-", "libmpi.so.40"))
    shim = plan.open(only(site, "ctranslate2.libs/libcudnn-*.so.8*"))
    plan.call(shim, "cudnnCreateTensorDescriptor", ("libcudnn_ops_infer.so.8",))
    plan.call(shim, "cudnnCreateConvolutionDescriptor", ("libcudnn_cnn_infer.so.8",))
    return plan


def plan_cublas(site: Path) -> Plan:
    plan = Plan()
    plan.open(only(site, "ctranslate2/_ext*.so"), ("libctranslate2-", "libmpi.so.40"))
    library = plan.open(only(site, "ctranslate2.libs/libctranslate2-*.so*"))
    plan.call(library, "cublasCreate_v2", ("libcublas.so.12",))
    return plan


def plan_onnxruntime(site: Path) -> Plan:
    plan = Plan()
    for pattern in ("onnxruntime_pybind11_state*.so", "*_providers_shared.so", "*_providers_cuda.so"):
        plan.open(only(site, f"onnxruntime/capi/{pattern}"))
    return plan


def plan_torch(site: Path) -> Plan:
    plan = Plan()
    plan.open(only(site, "torch/lib/libtorch_global_deps.so"))
    lt, sparse = ("libcublasLt", "libcuda.so.1"), ("libcusparseLt", "libcuda.so.1")
    plan.open(only(site, "torch/lib/libtorch_cuda.so"), lt, lt, sparse)
    shim = plan.open("libcudnn.so.9")
    plan.call(shim, "cudnnGetErrorString", part("graph"))
    plan.call(shim, "cudnnCreateConvolutionDescriptor", part("cnn"))
    return plan


# --- search paths ----------------------------------------------------------------------------------------------------


class Cases:
    """LD_LIBRARY_PATH values, with the folders that they name."""

    def __init__(self, folder: Path, env: Path) -> None:
        self.folder = folder
        self.correct = ":".join(nvidia_dirs(env)) or ":".join(nvidia_dirs(wheel_env("ct2-460-cudnn91")))
        self.cudnn = site_packages(wheel_env("ct2-460-cudnn91")) / "nvidia" / "cudnn" / "lib"

    def place(self, name: str, make: Callable[[Path], object], library: str = "libcudnn_ops.so.9") -> str:
        directory = self.folder / name
        directory.mkdir(parents=True)
        for file in (library, "libcudnn_graph.so.9", "libcublas.so.12", "libcublasLt.so.12"):
            make(directory / file)
        return str(directory)

    def copy(self, directory: str) -> Path:
        target = self.folder / directory
        target.mkdir(parents=True, exist_ok=True)
        return target

    def value(self, case: str) -> str | None:
        return getattr(self, case.replace("-", "_"))()

    def unset(self) -> str | None:
        return None

    def right(self) -> str:
        return self.correct

    def cudnn8_first(self) -> str:
        return f"{site_packages(wheel_env('ct2-460-cudnn8'))}/nvidia/cudnn/lib:{self.correct}"

    def stale(self) -> str:
        return "/usr/local/cuda-11.8/lib64:/opt/does/not/exist"

    def broken_symlink(self) -> str:
        return self.place("broken", lambda p: p.symlink_to("/nowhere/at/all.so")) + ":" + self.correct

    def other_machines(self) -> str:
        def header(number: int, elf_class: int) -> Callable[[Path], object]:
            start = (self.cudnn / "libcudnn.so.9").read_bytes()[:4096]
            changed = start[:4] + bytes([elf_class]) + start[5:18] + number.to_bytes(2, "little") + start[20:]
            return lambda p: p.write_bytes(changed)

        return f"{self.place('i386', header(3, 1))}:{self.place('arm', header(183, 2))}:{self.correct}"

    def other_cudnn_first(self) -> str:
        return f"{site_packages(wheel_env('ct2-460-cudnn910'))}/nvidia/cudnn/lib:{self.correct}"

    def lfs_pointer(self) -> str:
        text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 104331208\n"
        return self.place("lfs", lambda p: p.write_text(text)) + ":" + self.correct

    def empty_file(self) -> str:
        return self.place("empty", lambda p: p.touch()) + ":" + self.correct

    def folder_named_so(self) -> str:
        return self.place("folder", lambda p: p.mkdir()) + ":" + self.correct

    def symlink_loop(self) -> str:
        return self.place("loop", lambda p: p.symlink_to(p.name)) + ":" + self.correct

    def truncated(self) -> str:
        with (self.cudnn / "libcudnn_ops.so.9").open("rb") as file:
            whole = file.read(200_000)
        return self.place("truncated", lambda p: p.write_bytes(whole)) + ":" + self.correct

    def full_version_last(self) -> str:
        last = self.copy("full")
        (last / "libcudnn_graph.so.9.1.0").symlink_to(self.cudnn / "libcudnn_graph.so.9")
        return f"{self.correct}:{last}"

    def hwcaps_v3(self) -> str:
        deep = self.copy("hw/glibc-hwcaps/x86-64-v3")
        for file in self.cudnn.glob("libcudnn*.so.9"):
            (deep / file.name).symlink_to(file)
        return f"{self.folder}/hw:{self.correct}"

    def legacy_tls(self) -> str:
        deep = self.copy("legacy/tls")
        for file in self.cudnn.glob("libcudnn*.so.9"):
            (deep / file.name).symlink_to(file)
        return f"{self.folder}/legacy:{self.correct}"

    def trailing_colon(self) -> str:
        self.in_cwd()
        return "/nope:"

    def relative(self) -> str:
        self.in_cwd()
        return "../cwd"

    def semicolon_origin(self) -> str:
        return f"/nope;$ORIGIN/../lib:{self.correct}"

    def in_cwd(self) -> None:
        for file in self.cudnn.glob("libcudnn*.so.9"):
            (self.copy("cwd") / file.name).symlink_to(file)


CASES = (
    "unset",
    "right",
    "cudnn8-first",
    "stale",
    "broken-symlink",
    "other-machines",
    "other-cudnn-first",
    "lfs-pointer",
    "empty-file",
    "folder-named-so",
    "symlink-loop",
    "truncated",
    "full-version-last",
    "hwcaps-v3",
    "legacy-tls",
    "trailing-colon",
    "relative",
    "semicolon-origin",
)
PLANS: dict[str, tuple[str, Callable[[Path], Plan]]] = {
    "ct2-cudnn9": ("ct2-460-cudnn91", plan_cudnn9),
    "ct2-cublas": ("ct2-460-cudnn91", plan_cublas),
    "ct2-cudnn9-of-910": ("ct2-460-cudnn910", plan_cudnn9),
    "ct2-with-cudnn8": ("ct2-460-cudnn8", plan_cudnn9),
    "ct2-bare": ("ct2-460-bare", plan_cudnn9),
    "ct2-440": ("ct2-440-cudnn91", plan_cudnn8),
    "onnxruntime": ("ort-1202-cuda12", plan_onnxruntime),
    "torch": ("torch-251-ct2-460", plan_torch),
}


def predict(python: Path, environment: dict[str, str], cwd: Path, plan: Plan) -> tuple[Process, bool]:
    """Return the emulated process, and whether it is to die."""
    matrix = load_matrix()
    target = Target(str(python), str(python.parents[1]), (), environment, str(cwd))
    process = Emulation(RealSystem(), target).process(family=lambda n: getattr(matrix.family_of(n), "name", None))
    process.start()
    importer = next((m for m in process.maps if m.file_name.startswith("libpython3")), process.main)
    for module in ("_ctypes", "_struct", "resource"):
        for file in sorted(_lib_dynload(python).glob(f"{module}.*.so")):
            process.dlopen(str(file), importer)
    caller = next((m for m in process.maps if m.file_name.startswith("_ctypes.")), importer)
    opened: list[Mapped | None] = []
    for number, step in enumerate(plan.steps):
        try:
            if step.startswith("open="):
                opened.append(_open(process, step[5:], caller))
                if opened[-1] is not None:
                    for start, name in plan.constructors[number]:
                        _open(process, name, next(m for m in process.maps if m.file_name.startswith(start)))
            else:
                library, groups = plan.calls[number]
                requester = opened[library]
                if requester is None or not all(_open_one(process, group, requester) for group in groups):
                    return process, True
        except LoadError:
            return process, True
    return process, False


def _open(process: Process, name: str, requester: Mapped) -> Mapped | None:
    try:
        return process.dlopen(name, requester)
    except LoadError as error:
        if error.failure == "truncated":
            raise
        return None


def _open_one(process: Process, names: tuple[str, ...], requester: Mapped) -> bool:
    return any(_open(process, name, requester) is not None for name in names)


def _lib_dynload(python: Path) -> Path:
    home = python.resolve().parents[1]
    return next((home / "lib").glob(f"{python.resolve().name}/lib-dynload"))


def run(python: Path, environment: dict[str, str], cwd: Path, plan: Plan, trace: Path) -> tuple[int, list[Asked]]:
    done = subprocess.run(
        [str(python), "-I", "-S", "-c", _DRIVER, *plan.steps],
        env={**environment, "LD_DEBUG": "libs,files", "LD_DEBUG_OUTPUT": str(trace)},
        cwd=cwd,
        capture_output=True,
        timeout=300,
        check=False,
    )
    text = max(trace.parent.glob(trace.name + ".*"), key=lambda p: p.stat().st_size).read_text(errors="surrogateescape")
    return done.returncode, parse_trace(text)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", PLANS)
def test_every_request(name: str, case: str, tmp_path: Path) -> None:
    slug, make_plan = PLANS[name]
    env = wheel_env(slug)
    python = env / "bin" / "python"
    plan = make_plan(site_packages(env))
    (tmp_path / "cwd").mkdir()
    value = Cases(tmp_path, env).value(case)
    environment = {} if value is None else {"LD_LIBRARY_PATH": value}
    process, dies = predict(python, environment, tmp_path / "cwd", plan)
    status, trace = run(python, environment, tmp_path / "cwd", plan, tmp_path / "trace")
    if dies:
        assert status in (-signal.SIGABRT, -signal.SIGBUS)
        assert len(trace) == len(process.log)
    else:  # onnxruntime's provider dies in a constructor where there is no GPU, after everything was loaded
        assert status in (0, -signal.SIGSEGV)
    extra = trace[len(process.log) :]
    assert not [a for a in extra if not a.name.startswith(("libcuda.so", "libnvidia-"))]
    wrong = differences(process, trace[: len(process.log)], str(python))
    assert not wrong, f"{environment}\n" + "\n".join(wrong)
    assert len(trace) > 8

"""`fix --binary` with NVIDIA's own libraries: a C program beside an environment of real wheels."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from support.command import clean_environment, gpudoctor
from support.gpuenvs import compile_library
from support.treestate import tree_state
from support.wheels import site_packages, wheel_env

pytestmark = pytest.mark.wheels

# cuDNN's dispatch library opens its parts by name while it runs, as an abort without them shows.
SOURCE = """
#include <dlfcn.h>
#include <stdio.h>
size_t cudnnGetVersion(void);
int cudnnOpsVersionCheck(void);
int cublasGetProperty(int, int *);
int main(void) {
    int major = 0;
    cublasGetProperty(0, &major);
    void *lt = dlopen("libcublasLt.so.12", RTLD_NOW);
    printf("%zu %d %d %s", cudnnGetVersion(), cudnnOpsVersionCheck(), major, lt ? "opened" : dlerror());
    return 7;
}
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Path:
    nvidia = site_packages(wheel_env("ct2-460-cudnn91")) / "nvidia"
    (tmp_path / "app").mkdir()
    (tmp_path / "main.c").write_text(SOURCE)
    libraries = (nvidia / "cublas/lib/libcublas.so.12", nvidia / "cudnn/lib/libcudnn.so.9")
    command = ["gcc", tmp_path / "main.c", "-o", tmp_path / "app/daemon", "-Wl,--no-as-needed", *libraries, "-ldl"]
    subprocess.run([*map(str, command), "-Wl,--allow-shlib-undefined", "-Wl,-rpath,/build/machine"], check=True)
    return tmp_path / "app/daemon"


def start(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], env=clean_environment(**environment), capture_output=True, text=True)


@pytest.mark.parametrize("strategy", [None, "wrapper", "env-file"])
def test_it_starts_and_cudnn_finds_its_parts(daemon: Path, tmp_path: Path, strategy: str | None) -> None:
    env = wheel_env("ct2-460-cudnn91")
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    chosen = ("--strategy", strategy) if strategy else ()
    before, packages = tree_state(daemon.parent), tree_state(env)
    assert start(daemon).returncode == 127
    done = gpudoctor("fix", "--binary", daemon, "--python", env, *chosen, "--apply", "--yes", **state)
    assert done.returncode == 0, done.stdout
    if strategy == "env-file":
        name, _, value = Path(f"{daemon}.gpudoctor.env").read_text().strip().partition("=")
        ran = start(daemon, **{name: value})
    else:
        ran = start(f"{daemon}-gpu")
    assert (ran.returncode, ran.stdout) == (7, "90100 0 12 opened"), ran.stderr
    assert gpudoctor("fix", "--binary", daemon, "--undo", **state).returncode == 0
    assert (tree_state(daemon.parent), tree_state(env)) == (before, packages)
    assert start(daemon).returncode == 127


def test_without_the_environment_nothing_serves_it(daemon: Path, tmp_path: Path) -> None:
    done = gpudoctor("fix", "--binary", daemon, "--format", "json", XDG_STATE_HOME=str(tmp_path / "state"))
    document = json.loads(done.stdout)
    assert (done.returncode, document["status"]) == (1, "refused")
    assert "nvidia-cublas-cu12 would bring it" in document["reason"]


def test_onnx_runtimes_real_cuda_provider_beside_a_daemon(tmp_path: Path) -> None:
    """A stub for the runtime itself, which no wheel ships as a library of its own; the providers are the wheel's."""
    env, app = wheel_env("ort-1202-cuda12"), tmp_path / "app"
    app.mkdir()
    for name in ("libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so"):
        (app / name).symlink_to(site_packages(env) / "onnxruntime/capi" / name)
    compile_library(tmp_path / "build", app / "libonnxruntime.so.1", "libonnxruntime.so.1")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(getenv("LD_LIBRARY_PATH")); return 7; }\n'
    )
    command = ["gcc", tmp_path / "main.c", "-o", app / "daemon", "-Wl,--no-as-needed", app / "libonnxruntime.so.1"]
    subprocess.run([*map(str, command), "-Wl,-rpath,$ORIGIN"], check=True)
    loader = next(p for p in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if Path(p).exists())
    listed = (loader, "--list", app / "libonnxruntime_providers_cuda.so")
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    before = tree_state(app)
    assert start(*listed).returncode != 0
    chosen = ("--strategy", "wrapper")
    done = gpudoctor("fix", "--binary", app / "daemon", "--python", env, *chosen, "--apply", "--yes", **state)
    assert done.returncode == 0, done.stdout
    ran = start(app / "daemon-gpu")
    assert ran.returncode == 7
    found = start(*listed, LD_LIBRARY_PATH=ran.stdout.strip())
    assert (found.returncode, "not found" in found.stdout) == (0, False), found.stdout
    assert gpudoctor("fix", "--binary", app / "daemon", "--undo", **state).returncode == 0
    assert tree_state(app) == before


# Nothing is linked: both libraries are opened by name, and cuDNN opens its parts by name in turn.
OPENER = """
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    void *cudnn = dlopen("libcudnn.so.9", RTLD_NOW), *blas = dlopen("libcublas.so.12", RTLD_NOW);
    if (!cudnn || !blas) { puts(dlerror()); return 1; }
    int (*ops)(void) = (int (*)(void)) dlsym(cudnn, "cudnnOpsVersionCheck");
    int (*cnn)(void) = (int (*)(void)) dlsym(cudnn, "cudnnCnnVersionCheck");
    printf("%d %d", ops(), cnn());
    fflush(stdout);
    FILE *maps = fopen("/proc/self/maps", "r");
    for (int c; (c = fgetc(maps)) != EOF;) fputc(c, stderr);
    return 7;
}
"""

# As a program with ONNX Runtime's archive unpacked beside it does: the runtime, then its providers, by name.
SPEECH = """
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    const char *names[] = {
        "libonnxruntime.so.1", "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"};
    for (int i = 0; i < 3; i++)
        if (!dlopen(names[i], RTLD_NOW | RTLD_GLOBAL)) { puts(dlerror()); return 1; }
    return 7;
}
"""


def compiled(folder: Path, source: str, *flags: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "main.c").write_text(source)
    subprocess.run(["gcc", folder.parent / "main.c", "-o", folder / "daemon", "-ldl", *flags], check=True)
    return folder / "daemon"


def test_a_daemon_that_opens_all_by_name(tmp_path: Path) -> None:
    env, state = wheel_env("ct2-460-cudnn91"), {"XDG_STATE_HOME": str(tmp_path / "state")}
    opener = compiled(tmp_path / "app", OPENER)
    before = tree_state(opener.parent)
    named = ("--binary", opener, "--python", env)
    assert start(opener).returncode == 1
    done = gpudoctor("fix", *named, "--apply", "--yes", **state)
    assert done.returncode == 0, done.stdout
    ran = start(f"{opener}-gpu")
    assert (ran.returncode, ran.stdout) == (7, "0 0")
    assert gpudoctor("fix", *named, "--undo", **state).returncode == 0
    assert (tree_state(opener.parent), start(opener).returncode) == (before, 1)
    mapped = {line.split()[-1] for line in ran.stderr.splitlines() if line.count("/")}
    variables = json.loads(gpudoctor("env", *named, "--shell", "json").stdout)["variables"]
    told = json.loads(gpudoctor("libs", *named, "--format", "json", **variables).stdout)["resolutions"]
    by_role = {r["role"]: r["path"] for r in told}
    for role in ("cudnn", "cublas", "cudnn_graph", "cudnn_ops", "cudnn_cnn"):
        assert str(Path(by_role[role]).resolve()) in mapped, role


def test_the_real_runtime_beside_a_daemon_opens_its_provider(tmp_path: Path) -> None:
    """Without a GPU the provider dies in its own constructor, which the loader runs when all it links was found."""
    packages, state = wheel_env("torch-2110-ct2-485"), {"XDG_STATE_HOME": str(tmp_path / "state")}
    capi, lib = site_packages(wheel_env("ort-1311-bare")) / "onnxruntime/capi", tmp_path / "app/lib"
    lib.mkdir(parents=True)
    (lib / "libonnxruntime.so.1").symlink_to(next(capi.glob("libonnxruntime.so.1.*")))
    for name in ("cuda", "shared", "tensorrt"):
        (lib / f"libonnxruntime_providers_{name}.so").symlink_to(capi / f"libonnxruntime_providers_{name}.so")
    daemon = compiled(tmp_path / "app/bin", SPEECH, "-Wl,-rpath,$ORIGIN/../lib")
    driver = _driver_of(tmp_path, capi / "libonnxruntime_providers_cuda.so")
    before, named = tree_state(tmp_path / "app"), ("--binary", daemon, "--python", packages)
    assert "libcublasLt.so.13: cannot open" in start(daemon, LD_LIBRARY_PATH=str(driver)).stdout
    checked = json.loads(gpudoctor("check", *named, "--format", "json").stdout)
    lost = [f for f in checked["findings"] if f["rule"] == "GPD201"]
    assert {f["level"] for f in lost} == {"error"}
    # From 1.31.1 the provider opens cuDNN by a name that no constant holds: the matrix knows it.
    assert {"libcudnn.so.9", "libcublasLt.so.13"} <= {n for f in lost for n in f["evidence"][0]["value"].split(", ")}
    assert not any("tensorrt" in f["message"] or "nvinfer" in f["message"] for f in lost)
    assert gpudoctor("fix", *named, "--apply", "--yes", **state).returncode == 0
    ran = start(f"{daemon}-gpu", LD_LIBRARY_PATH=str(driver), LD_DEBUG="files")
    assert "cannot open" not in ran.stdout
    assert "calling init: " + str(lib.parent / "bin/../lib/libonnxruntime_providers_cuda.so") in ran.stderr
    assert gpudoctor("fix", *named, "--undo", **state).returncode == 0
    assert tree_state(tmp_path / "app") == before


def test_a_healthy_archive_without_tensorrt_is_no_alarm(tmp_path: Path) -> None:
    """ONNX Runtime's archives bring a TensorRT provider to everybody."""
    capi, lib = site_packages(wheel_env("ort-1311-bare")) / "onnxruntime/capi", tmp_path / "app/lib"
    lib.mkdir(parents=True)
    for name in ("shared", "tensorrt"):
        (lib / f"libonnxruntime_providers_{name}.so").symlink_to(capi / f"libonnxruntime_providers_{name}.so")
    (lib / "libonnxruntime.so.1").symlink_to(next(capi.glob("libonnxruntime.so.1.*")))
    done = gpudoctor("check", "--binary", tmp_path / "app", "--format", "json")
    assert [f for f in json.loads(done.stdout)["findings"] if f["rule"] == "GPD201"] == []


def _driver_of(folder: Path, provider: Path) -> Path:
    """Compile a libcuda that has every function of the driver that a provider links, and does nothing."""
    command = ["nm", "-D", "--undefined-only", str(provider)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    names = sorted({n for n in listed if re.fullmatch(r"cu[A-Z]\w*", n)})
    compile_source = "".join(f"int {name}(void) {{ return 100; }}\n" for name in names)
    (folder / "driver").mkdir()
    (folder / "driver.c").write_text(compile_source or "int unused;")
    library = folder / "driver/libcuda.so.1"
    command = ["gcc", "-shared", "-fPIC", str(folder / "driver.c"), "-o", str(library), "-Wl,-soname,libcuda.so.1"]
    subprocess.run(command, check=True)
    return library.parent

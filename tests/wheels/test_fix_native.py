"""`fix --binary` with NVIDIA's own libraries: a C program beside an environment of real wheels."""

from __future__ import annotations

import json
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

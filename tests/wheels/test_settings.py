"""`gpudoctor run` and `env` on environments from real wheels: proved by the real loader and by cuDNN itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpudoctor.fix.render_env import CannotExpress, render_env
from gpudoctor.fix.settings import Settings, compute_settings
from gpudoctor.loader.target import Target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import value_of
from gpudoctor.probes.take import SnapshotRequest, take_snapshot
from gpudoctor.system.real import RealSystem
from support.command import GPUDOCTOR, clean_environment, gpudoctor
from support.shells import need_program
from support.values import DIRECTORIES
from support.wheels import HOME, nvidia_dirs, site_packages, wheel_env

pytestmark = pytest.mark.wheels

# What the first convolution does, without a GPU: the dispatch library opens its parts, and aborts when it cannot.
CANARY = """
import ctypes, glob, sys
shim = ctypes.CDLL(glob.glob(sys.argv[1] + '/ctranslate2.libs/libcudnn-*.so.*')[0])
for call in ('cudnnGraphVersionCheck', 'cudnnOpsVersionCheck', 'cudnnCnnVersionCheck'):
    assert getattr(shim, call)() == 0, call
ctypes.CDLL('libcublas.so.12')
print('alive')
"""


def settings(env: Path, *arguments: str, **environment: str) -> dict:
    done = gpudoctor("env", "--shell", "json", "--python", env, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def prepended(slug: str, *arguments: str, **environment: str) -> set[str]:
    """Return the folders that are set, relative to site-packages."""
    env = wheel_env(slug)
    document = settings(env, *arguments, **environment)
    return {str(Path(d).relative_to(site_packages(env))) for d in document["prepended"]}


def ld_path(slug: str) -> str:
    return ":".join(nvidia_dirs(wheel_env(slug)))


def canary(env: Path) -> list[str]:
    return [str(env / "bin/python"), "-c", CANARY, str(site_packages(env))]


def answers(slug: str, value: str | None) -> dict[tuple[str, ...], dict]:
    more = [] if value is None else ["--env", f"LD_LIBRARY_PATH={value}"]
    done = gpudoctor("libs", "--python", wheel_env(slug), "--format", "json", *more)
    rows = json.loads(done.stdout)["resolutions"]
    return {(r["consumer"], r["scenario"], r["requester"], r["link"], r["soname"]): r for r in rows}


class TestExactlyWhatIsNeeded:
    def test_ctranslate2_with_cudnn_9(self) -> None:
        assert prepended("ct2-460-cudnn91") == {"nvidia/cublas/lib", "nvidia/cudnn/lib"}

    def test_ctranslate2_that_needs_no_cudnn(self) -> None:
        assert prepended("ct2-485-cublas12") == {"nvidia/cublas/lib"}

    def test_only_the_one_that_is_still_missed(self) -> None:
        cudnn = str(site_packages(wheel_env("ct2-460-cudnn91")) / "nvidia/cudnn/lib")
        assert prepended("ct2-460-cudnn91", LD_LIBRARY_PATH=cudnn) == {"nvidia/cublas/lib"}

    @pytest.mark.parametrize("slug", ["ct2-460-cudnn91", "ct2-460-cudnn910", "ort-1202-cuda12", "torch-251-ct2-460"])
    def test_nothing_where_it_is_right_already(self, slug: str) -> None:
        assert settings(wheel_env(slug), LD_LIBRARY_PATH=ld_path(slug))["variables"] == {}
        assert settings(wheel_env(slug), "--env", f"LD_LIBRARY_PATH={ld_path(slug)}")["variables"] == {}

    @pytest.mark.parametrize("slug", ["ct2-460-cudnn91", "ort-1202-cuda12", "torch-251-ct2-460", "torch-251-ct2-485"])
    def test_twice_is_once(self, slug: str) -> None:
        value = settings(wheel_env(slug))["variables"]["LD_LIBRARY_PATH"]
        assert settings(wheel_env(slug), LD_LIBRARY_PATH=value)["variables"] == {}

    def test_onnxruntime_by_the_real_loader_s_own_list(self) -> None:
        env = wheel_env("ort-1202-cuda12")
        value = settings(env)["variables"]["LD_LIBRARY_PATH"]
        provider = site_packages(env) / "onnxruntime/capi/libonnxruntime_providers_cuda.so"
        loader = next(p for p in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if os.path.exists(p))

        def missing(value: str) -> int:
            done = subprocess.run([loader, "--list", provider], env={"LD_LIBRARY_PATH": value}, capture_output=True)
            return done.returncode

        assert missing(value) == 0
        for left_out in value.split(":"):
            assert missing(":".join(d for d in value.split(":") if d != left_out)) != 0, f"{left_out} is needless"


def test_a_whole_snapshot_gives_the_same_answer() -> None:
    env = wheel_env("torch-251-ct2-460")
    system, matrix = RealSystem(), load_matrix(None)
    request = SnapshotRequest(python=str(env), assume_driver="550.54.15", assume_gpus=("8.6",))
    snapshot = take_snapshot(system, matrix, request)
    interpreter = value_of(snapshot.interpreter)
    assert interpreter is not None
    environment = {k: v for k, v in system.environ().items() if k != "LD_LIBRARY_PATH"}
    target = Target(
        executable=interpreter.executable,
        prefix=interpreter.prefix,
        site_dirs=interpreter.site_dirs,
        environment=environment,
        cwd="/",
    )
    found = compute_settings(system, matrix, target, snapshot)
    assert isinstance(found, Settings)
    assert list(found.directories) == settings(env)["prepended"]


class TestBesideTorch:
    @pytest.mark.parametrize("slug", ["torch-251-ct2-460", "torch-251-ct2-485"])
    def test_torch_keeps_its_own_and_ctranslate2_gets_what_it_lacks(self, slug: str) -> None:
        value = settings(wheel_env(slug))["variables"]["LD_LIBRARY_PATH"]
        before, after = answers(slug, None), answers(slug, value)
        assert [k for k, r in after.items() if r["outcome"] == "absent" and "libcuda" not in k[-1]] == []
        torch = {k: r["path"] for k, r in before.items() if k[0] == "torch" and r["path"]}
        assert len(torch) > 5
        for key, path in torch.items():
            assert os.path.samefile(path, after[key]["path"]), key

    def test_half_of_another_cudnn_on_the_path_is_overtaken_by_torch_s_own(self, tmp_path: Path) -> None:
        slug = "torch-251-ct2-460"
        other = site_packages(wheel_env("ct2-460-cudnn910")) / "nvidia/cudnn/lib/libcudnn_ops.so.9"
        (tmp_path / other.name).symlink_to(other)
        document = settings(wheel_env(slug), LD_LIBRARY_PATH=str(tmp_path))
        value = document["variables"]["LD_LIBRARY_PATH"]
        assert value.endswith(f":{tmp_path}")
        after = answers(slug, value)
        parts = {os.path.realpath(r["path"]) for k, r in after.items() if k[-1].startswith("libcudnn_") and r["path"]}
        assert {os.path.dirname(p) for p in parts} == {str(site_packages(wheel_env(slug)) / "nvidia/cudnn/lib")}


class TestRefusals:
    @pytest.mark.parametrize(
        ("slug", "library", "hint"),
        [
            ("ct2-485-cublas13", "libcublas.so.12", "libcublas.so.13 is of another major version"),
            ("ct2-460-cudnn8", "libcudnn_graph.so.9", "nvidia-cudnn-cu12"),
            ("ct2-460-bare", "libcublas.so.12", "nvidia-cublas-cu12"),
            ("ct2-440-cudnn91", "libcudnn_ops_infer.so.8", "nvidia-cudnn-cu12"),
        ],
    )
    def test_what_is_not_installed_cannot_be_set(self, slug: str, library: str, hint: str, tmp_path: Path) -> None:
        done = gpudoctor("run", "--python", wheel_env(slug), "--", "touch", tmp_path / "mark")
        assert done.returncode == 1
        assert not (tmp_path / "mark").exists()
        assert done.stderr.count("\n") == 1
        assert f"ctranslate2 needs {library}" in done.stderr
        assert hint in done.stderr


class TestRun:
    def test_the_child_sees_it(self) -> None:
        env = wheel_env("ct2-460-cudnn91")
        code = "import os;print(os.environ['LD_LIBRARY_PATH'])"
        done = gpudoctor("run", "--", env / "bin/python", "-c", code)
        assert set(done.stdout.strip().split(":")) == {
            str(site_packages(env) / f"nvidia/{part}/lib") for part in ("cublas", "cudnn")
        }

    @pytest.mark.parametrize("slug", ["ct2-460-cudnn91", "ct2-460-cudnn910", "torch-251-ct2-460"])
    def test_cudnn_no_longer_aborts(self, slug: str) -> None:
        env = wheel_env(slug)
        plain = subprocess.run(canary(env), env=clean_environment(), capture_output=True)
        assert plain.returncode == -signal.SIGABRT
        assert gpudoctor("run", "--", *canary(env)).stdout == "alive\n"

    def test_half_of_another_cudnn_on_the_path_no_longer_aborts(self, tmp_path: Path) -> None:
        env = wheel_env("ct2-460-cudnn91")
        other = site_packages(wheel_env("ct2-460-cudnn910")) / "nvidia/cudnn/lib/libcudnn_ops.so.9"
        (tmp_path / other.name).symlink_to(other)
        hostile = {"LD_LIBRARY_PATH": str(tmp_path)}
        plain = subprocess.run(canary(env), env=clean_environment(**hostile), capture_output=True)
        assert plain.returncode == -signal.SIGABRT
        assert gpudoctor("run", "--", *canary(env), **hostile).stdout == "alive\n"

    def test_a_python_that_node_spawns_inherits_it(self) -> None:
        node = need_program("node", "nodejs")
        env = wheel_env("ct2-460-cudnn91")
        code = (
            "const r=require('child_process').spawnSync(process.argv[1],process.argv.slice(2));"
            "process.stdout.write(r.stdout);process.exit(r.signal?1:r.status)"
        )
        done = gpudoctor("run", "--python", env, "--", node, "-e", code, *canary(env))
        assert (done.returncode, done.stdout) == (0, "alive\n")


@pytest.fixture
def copy_of_env(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Make the environment of hard links again, in a folder of the parameter's name."""
    top = HOME / f"copy-{os.getpid()}"
    shutil.rmtree(top, ignore_errors=True)
    folder = top / request.param
    shutil.copytree(wheel_env("ct2-460-cudnn91"), folder, symlinks=True, copy_function=os.link)
    yield folder
    shutil.rmtree(top)


class TestFolderNames:
    @pytest.mark.parametrize("copy_of_env", ['my "$HOME" `id` it\'s \\ !x\ny é'], indirect=True)
    @pytest.mark.parametrize(
        ("shell", "line"),
        [
            ("bash", 'eval "$(cat settings)"'),
            ("zsh", 'eval "$(cat settings)"'),
            ("dash", 'eval "$(cat settings)"'),
            ("fish", "cat settings | source"),
            ("tcsh", "source settings"),
        ],
    )
    def test_cudnn_lives_after_a_shell_took_the_settings(
        self, copy_of_env: Path, tmp_path: Path, shell: str, line: str
    ) -> None:
        program = need_program(shell, shell)
        done = gpudoctor("env", "--python", copy_of_env, "--shell", shell, "-o", tmp_path / "settings")
        assert done.returncode == 0, done.stderr
        (tmp_path / "canary.py").write_text(CANARY)
        (tmp_path / "python").symlink_to(copy_of_env / "bin/python")
        (tmp_path / "site").symlink_to(site_packages(copy_of_env))
        script = f"cd {tmp_path}\n{line}\nexec {tmp_path}/python -I {tmp_path}/canary.py {tmp_path}/site\n"
        (tmp_path / "script").write_text(script)
        options = {"fish": ["--no-config"], "tcsh": ["-f"], "zsh": ["-f"]}.get(shell, [])
        environment = clean_environment(LC_ALL="C.UTF-8")
        done = subprocess.run([program, *options, tmp_path / "script"], env=environment, capture_output=True, text=True)
        assert done.stdout == "alive\n", done.stderr

    @pytest.mark.parametrize("copy_of_env", ['my "$HOME" `id` it\'s \\ !x\ny é'], indirect=True)
    def test_run_needs_no_quoting(self, copy_of_env: Path) -> None:
        assert gpudoctor("run", "--", *canary(copy_of_env)).stdout == "alive\n"

    @pytest.mark.parametrize("copy_of_env", ["a:b"], indirect=True)
    def test_a_colon_cannot_be_expressed(self, copy_of_env: Path) -> None:
        done = gpudoctor("run", "--", *canary(copy_of_env))
        assert done.returncode == 1
        assert "':' separates directories in LD_LIBRARY_PATH" in done.stderr
        assert "a:b" in done.stderr

    def test_a_link_without_one_is_no_way_around_but_its_target_is(self, tmp_path: Path) -> None:
        (tmp_path / "a:b").symlink_to(wheel_env("ct2-460-cudnn91"))
        done = gpudoctor("run", "--", *canary(tmp_path / "a:b"))
        assert done.stdout == "alive\n", done.stderr


@pytest.fixture(scope="module")
def python_dotenv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dotenv")
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    subprocess.run([uv, "pip", "install", "-q", "--target", folder, "python-dotenv==1.0.1"], check=True)
    return folder


@pytest.mark.parametrize("name", DIRECTORIES)
def test_dotenv_is_read_back_by_python_dotenv(python_dotenv: Path, tmp_path: Path, name: str) -> None:
    try:
        text = render_env("dotenv", "LD_LIBRARY_PATH", DIRECTORIES[name])
    except CannotExpress:
        return  # which values those are: tests/unit/fix/test_render_files.py
    (tmp_path / ".env").write_text(text, newline="")
    code = "import dotenv,sys;sys.stdout.write(dotenv.dotenv_values(sys.argv[1])['LD_LIBRARY_PATH'])"
    python = wheel_env("ct2-460-bare") / "bin/python"
    environment = clean_environment(PYTHONPATH=str(python_dotenv), PYTHONUTF8="1")
    done = subprocess.run([python, "-c", code, tmp_path / ".env"], env=environment, capture_output=True, check=True)
    assert done.stdout == os.fsencode(DIRECTORIES[name])


def test_the_help_s_first_line_works(tmp_path: Path) -> None:
    env = wheel_env("ct2-460-cudnn91")
    line = f'eval "$({GPUDOCTOR} env)"; eval "$({GPUDOCTOR} env)"; echo "$LD_LIBRARY_PATH"'
    environment = clean_environment(VIRTUAL_ENV=str(env), SHELL="/bin/bash")
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True)
    assert len(done.stdout.strip().split(":")) == 2
    assert re.fullmatch(r"gpudoctor: nothing to set: [^\n]*\n", done.stderr)

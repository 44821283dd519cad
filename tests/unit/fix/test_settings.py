"""Settings computed for real files: which directories, in which order, and when none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpudoctor.fix.candidates import Scene
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.settings import Settings, prepended, settings_for
from gpudoctor.loader.consumers import resolve_consumers
from gpudoctor.loader.search import inexpressible
from gpudoctor.loader.target import Target
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.libraries import probe_libraries
from gpudoctor.system.real import RealSystem
from support.gpuenvs import LIB, GpuEnv

CUDNN, CUBLAS = "nvidia/cudnn/lib", "nvidia/cublas/lib"
OPS, CNN, BLAS = "libcudnn_ops.so.9", "libcudnn_cnn.so.9", "libcublas.so.12"


def runpath(folder: Path | str) -> tuple[str, ...]:
    return (f"-Wl,--enable-new-dtags,-rpath,{folder}",)


@pytest.fixture
def env(tmp_path: Path) -> GpuEnv:
    return GpuEnv(tmp_path / "env")


def compute(
    env: GpuEnv, present: str | None = None, *, folders: tuple[Path, ...] = (), secure: bool = False
) -> Settings | Refusal:
    """Return the settings of an environment; folders are what the machine has besides."""
    system, matrix = RealSystem(), env.matrix
    target = Target(
        executable=str(env.python),
        prefix=str(env.root),
        site_dirs=(str(env.site),),
        environment={} if present is None else {"LD_LIBRARY_PATH": present},
        cwd="/",
        secure_execution=secure,
    )
    answer = resolve_consumers(system, matrix, target)
    distributions = probe_distributions(system, target.site_dirs, target.prefix)
    libraries = probe_libraries(
        system,
        matrix,
        site_dirs=target.site_dirs,
        distributions=distributions,
        extra_dirs=tuple(map(str, folders)),
        resolutions=answer.resolutions,
        elf=answer.elf,
    )
    return settings_for(system, matrix, target, Scene(answer.resolutions, libraries, distributions))


def directories(found: Settings | Refusal) -> list[str]:
    assert isinstance(found, Settings), found
    return list(found.directories)


def refused(found: Settings | Refusal) -> Refusal:
    assert isinstance(found, Refusal), found
    return found


def really_loads(env: GpuEnv, value: str | None, name: str) -> str:
    """Return the file that the real loader maps for a name."""
    code = (
        "import ctypes,sys;ctypes.CDLL(sys.argv[1]);"
        "print(next(l.split(None,5)[5] for l in open('/proc/self/maps') if sys.argv[1].split('.so')[0] in l),end='')"
    )
    environment = {} if value is None else {"LD_LIBRARY_PATH": value}
    done = subprocess.run([sys.executable, "-I", "-c", code, name], env=environment, capture_output=True, text=True)
    return done.stdout.rstrip("\n") or done.stderr.strip().rsplit("\n", 1)[-1]


class TestWhatIsNeeded:
    def test_exactly_the_folders_that_are_missed(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.library(CUDNN, CNN, "9.1.0")
        env.library(CUBLAS, BLAS)
        env.library("nvidia/cufft/lib", "libcufft.so.11")
        env.consumer("alpha", (BLAS, OPS, CNN))
        found = compute(env)
        assert sorted(directories(found)) == [str(env.site / CUBLAS), str(env.site / CUDNN)]
        assert isinstance(found, Settings)
        assert found.library_path == ":".join(found.directories)
        assert really_loads(env, None, OPS).startswith("OSError")
        assert really_loads(env, found.library_path, OPS) == str(env.site / CUDNN / "libcudnn_ops.so.9.1.0")
        assert really_loads(env, found.library_path, BLAS) == str(env.site / CUBLAS / BLAS)

    def test_nothing_when_the_files_are_found_by_their_own_means(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,), flags=runpath(f"$ORIGIN/../{CUDNN}"))
        assert compute(env) == Settings()

    def test_nothing_when_the_variable_is_right_already(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        first = compute(env)
        assert isinstance(first, Settings)
        assert compute(env, first.library_path) == Settings()

    def test_nothing_without_a_consumer(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        assert compute(env) == Settings()

    def test_nothing_for_what_only_the_driver_brings(self, env: GpuEnv) -> None:
        env.consumer("alpha", ("libcuda.so.1",))
        assert compute(env) == Settings()

    def test_nothing_for_what_speech_models_do_without(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", optional=(OPS,))
        assert compute(env) == Settings()

    def test_a_dependency_that_lies_elsewhere(self, env: GpuEnv) -> None:
        env.library(CUBLAS, BLAS, needs=("libcublasLt.so.12:",))
        env.library("nvidia/lt/lib", "libcublasLt.so.12")
        env.consumer("alpha", (BLAS,))
        assert sorted(directories(compute(env))) == [str(env.site / CUBLAS), str(env.site / "nvidia/lt/lib")]

    def test_no_folder_for_the_same_build_twice(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        for name in (OPS, CNN):
            env.library(tmp_path / "toolkit", name, "9.1.0")
        env.consumer("alpha", (OPS, CNN))
        assert directories(compute(env, folders=(tmp_path / "toolkit",))) == [str(tmp_path / "toolkit")]

    def test_no_folder_that_another_one_makes_needless(self, env: GpuEnv, tmp_path: Path) -> None:
        """The environment's own ops and the machine's cnn are of two builds: the machine's folder alone is left."""
        env.library(CUDNN, OPS, "9.1.0")
        for name in (OPS, CNN):
            env.library(tmp_path / "toolkit", name, "9.2.0")
        env.consumer("alpha", (OPS, CNN))
        assert directories(compute(env, folders=(tmp_path / "toolkit",))) == [str(tmp_path / "toolkit")]

    def test_the_environment_s_own_build_is_not_given_up_for_fewer_folders(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.library(tmp_path / "toolkit", OPS, "9.2.0")
        env.library(tmp_path / "toolkit", BLAS)
        env.consumer("alpha", (OPS, BLAS))
        found = directories(compute(env, folders=(tmp_path / "toolkit",)))
        assert found == [str(env.site / CUDNN), str(tmp_path / "toolkit")]

    def test_the_environment_s_own_files_come_before_the_machine_s(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.library(tmp_path / "a", OPS, "9.10.2")
        env.library(tmp_path / "a", CNN, "9.10.2")
        env.consumer("alpha", (OPS,))
        assert directories(compute(env, folders=(tmp_path / "a",))) == [str(env.site / CUDNN)]


class TestThePresentValue:
    @pytest.mark.parametrize(
        "present", ["/x", "/x:/y", "/x::/y", ":/x", "/x:", ":", "/x;/y", "$ORIGIN/x", "/a b/'\"\n"]
    )
    def test_it_stays_as_it_is_behind_what_is_added(self, env: GpuEnv, present: str) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        found = compute(env, present)
        assert isinstance(found, Settings)
        assert found.library_path == f"{env.site / CUDNN}:{present}"

    @pytest.mark.parametrize("present", [None, ""])
    def test_no_empty_element_is_made(self, env: GpuEnv, present: str | None) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        found = compute(env, present)
        assert isinstance(found, Settings)
        assert found.library_path == str(env.site / CUDNN)

    def test_prepended(self) -> None:
        assert prepended(("/a", "/b"), "/c") == "/a:/b:/c"
        assert prepended(("/a",), "") == "/a"
        assert prepended(("/a",), None) == "/a"

    def test_a_file_there_that_stops_the_loader_is_overtaken(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library(CUBLAS, BLAS)
        env.consumer("alpha", (BLAS,))
        (tmp_path / BLAS).write_text("version https://git-lfs.github.com/spec/v1\n")
        found = compute(env, str(tmp_path))
        assert isinstance(found, Settings)
        assert found.library_path == f"{env.site / CUBLAS}:{tmp_path}"
        assert really_loads(env, found.library_path, BLAS) == str(env.site / CUBLAS / BLAS)

    def test_half_a_build_there_is_overtaken_by_a_whole_one(self, env: GpuEnv, tmp_path: Path) -> None:
        for name in (OPS, CNN):
            env.library(CUDNN, name, "9.1.0")
        env.library(tmp_path / "half", OPS, "9.10.2")
        env.consumer("alpha", (OPS, CNN))
        found = compute(env, str(tmp_path / "half"))
        assert directories(found) == [str(env.site / CUDNN)]

    def test_parts_older_than_the_dispatch_library_are_overtaken(self, env: GpuEnv, tmp_path: Path) -> None:
        for name in ("libcudnn.so.9", OPS, CNN):
            env.library(CUDNN, name, "9.10.2")
        for name in (OPS, CNN):
            env.library(tmp_path / "old", name, "9.1.0")
        env.consumer("alpha", ("libcudnn.so.9", OPS, CNN), flags=runpath(f"$ORIGIN/../{CUDNN}"))
        assert directories(compute(env, str(tmp_path / "old"))) == [str(env.site / CUDNN)]


class TestFilesThatDoNotServe:
    def test_another_processor_s_file_is_passed_over(self, env: GpuEnv, tmp_path: Path) -> None:
        wrong = env.library(CUBLAS, BLAS)
        content = bytearray(wrong.read_bytes())
        content[18:20] = (183).to_bytes(2, "little")
        wrong.write_bytes(bytes(content))
        env.library(tmp_path / "right", BLAS)
        env.consumer("alpha", (BLAS,))
        assert directories(compute(env, folders=(tmp_path / "right",))) == [str(tmp_path / "right")]

    def test_a_file_that_is_no_library_is_passed_over(self, env: GpuEnv) -> None:
        (env.site / CUBLAS).mkdir(parents=True)
        (env.site / CUBLAS / BLAS).write_text("version https://git-lfs.github.com/spec/v1\n")
        env.consumer("alpha", (BLAS,))
        assert refused(compute(env)).kind == "not-installed"

    def test_nothing_of_that_name(self, env: GpuEnv) -> None:
        env.consumer("alpha", (OPS,))
        refusal = refused(compute(env))
        assert (refusal.kind, refusal.consumers, refusal.library) == ("not-installed", ("alpha",), OPS)
        assert "alpha needs libcudnn_ops.so.9" in refusal.reason
        assert "nvidia-cudnn-cu12" in refusal.reason

    def test_another_major_version(self, env: GpuEnv) -> None:
        env.library(CUBLAS, "libcublas.so.13")
        env.consumer("alpha", (BLAS,))
        refusal = refused(compute(env))
        assert refusal.kind == "not-installed"
        assert "libcublas.so.13 is of another major version" in refusal.reason

    def test_a_consumer_that_nothing_helps_gets_half_of_nothing(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS, BLAS))
        assert refused(compute(env)).library == BLAS

    def test_one_consumer_is_served_though_another_cannot_be(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        env.consumer("beta", (BLAS,))
        found = compute(env)
        assert directories(found) == [str(env.site / CUDNN)]
        assert isinstance(found, Settings)
        assert [(u.consumers, u.library) for u in found.unmet] == [(("beta",), BLAS)]

    def test_two_that_nothing_helps_are_both_told(self, env: GpuEnv) -> None:
        env.consumer("alpha", (OPS,))
        env.consumer("beta", (BLAS,))
        refusal = refused(compute(env))
        assert set(refusal.consumers) == {"alpha", "beta"}
        assert OPS in refusal.reason
        assert BLAS in refusal.reason

    def test_an_executable_that_ignores_the_variable(self, env: GpuEnv) -> None:
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        refusal = refused(compute(env, secure=True))
        assert refusal.kind == "ignored"
        assert str(env.python) in refusal.reason


class TestFolderNames:
    @pytest.mark.parametrize("name", ["a:b", "a;b", "$ORIGIN", "x${LIB}y", "$PLATFORM", "$LIB-x"])
    def test_a_name_that_the_variable_cannot_hold(self, env: GpuEnv, tmp_path: Path, name: str) -> None:
        env.library(tmp_path / name, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        refusal = refused(compute(env, folders=(tmp_path / name,)))
        assert refusal.kind == "inexpressible"
        assert "LD_LIBRARY_PATH cannot name that folder" in refusal.reason
        assert name in refusal.reason

    @pytest.mark.parametrize("name", ["a:b", "a;b"])
    def test_a_whole_environment_that_the_variable_cannot_hold(self, tmp_path: Path, name: str) -> None:
        env = GpuEnv(tmp_path / name)
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        assert refused(compute(env)).kind == "inexpressible"

    def test_another_folder_is_taken_where_one_cannot_be_named(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library("nvidia/a:b/lib", OPS, "9.1.0")
        env.library(tmp_path / "other", OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        assert directories(compute(env, folders=(tmp_path / "other",))) == [str(tmp_path / "other")]

    @pytest.mark.parametrize(
        "name", ["$LIBS", "$HOME", "${ORIGIN", "$ORIGIN_", "a b", "it's", '"', "\n", "\\", "~", "é", "-x"]
    )
    def test_a_name_that_is_only_unusual(self, tmp_path: Path, name: str) -> None:
        env = GpuEnv(tmp_path / name)
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        found = compute(env)
        assert directories(found) == [str(env.site / CUDNN)]
        assert isinstance(found, Settings)
        if name != "\n":  # /proc/self/maps escapes it
            assert really_loads(env, found.library_path, OPS).startswith(str(env.site / CUDNN))

    def test_a_link_s_bad_name_is_replaced_by_the_folder_s_own(self, tmp_path: Path) -> None:
        env = GpuEnv(tmp_path / "good")
        env.library(CUDNN, OPS, "9.1.0")
        env.consumer("alpha", (OPS,))
        (tmp_path / "b:d").symlink_to(env.root)
        env.root, env.site = tmp_path / "b:d", tmp_path / "b:d" / LIB / "site-packages"
        assert directories(compute(env)) == [str(tmp_path / "good" / LIB / "site-packages" / CUDNN)]

    def test_inexpressible(self) -> None:
        assert inexpressible("/a/b") is None
        assert inexpressible("relative") is not None
        assert inexpressible("") is not None


class TestTwoConsumers:
    def test_torch_keeps_its_own_build(self, env: GpuEnv, tmp_path: Path) -> None:
        """The folder that alpha needs holds another build of what torch finds through RUNPATH: torch's goes first."""
        env.library("torch/lib", OPS, "9.10.2")
        env.library(tmp_path / "cuda", OPS, "9.1.0")
        env.library(tmp_path / "cuda", BLAS)
        make_torch(env, OPS)
        env.consumer("alpha", (BLAS,))
        found = compute(env, folders=(tmp_path / "cuda",))
        assert directories(found) == [str(env.site / "torch/lib"), str(tmp_path / "cuda")]
        assert isinstance(found, Settings)
        assert really_loads(env, found.library_path, OPS) == str(env.site / "torch/lib/libcudnn_ops.so.9.10.2")

    def test_what_would_shadow_torch_s_build_is_refused(self, env: GpuEnv, tmp_path: Path) -> None:
        """The folder of torch first would give alpha two builds; that of alpha first would give torch another one."""
        env.library("torch/lib", OPS, "9.10.2")
        for name in (OPS, CNN):
            env.library(tmp_path / "cuda", name, "9.1.0")
        make_torch(env, OPS)
        env.consumer("alpha", (CNN, OPS))
        refusal = refused(compute(env, folders=(tmp_path / "cuda",)))
        assert refusal.kind == "conflict"
        assert set(refusal.consumers) == {"alpha", "torch"}
        assert "libcudnn" in (refusal.library or "")
        assert "9.10.2" in refusal.reason
        assert "9.1.0" in refusal.reason
        assert "--for alpha" in refusal.reason

    def test_the_same_build_in_another_place_is_no_shadow(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library("torch/lib", OPS, "9.1.0")
        for name in (OPS, CNN):
            env.library(tmp_path / "cuda", name, "9.1.0")
        make_torch(env, OPS)
        env.consumer("alpha", (CNN, OPS))
        assert directories(compute(env, folders=(tmp_path / "cuda",))) == [str(tmp_path / "cuda")]

    def test_both_builds_of_one_name_cannot_come_first(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library(tmp_path / "one", BLAS, symbol="ONE")
        env.library(tmp_path / "two", BLAS, symbol="TWO")
        env.consumer("alpha", needs=(f"{BLAS}:ONE",))
        env.consumer("beta", needs=(f"{BLAS}:TWO",))
        refusal = refused(compute(env, folders=(tmp_path / "one", tmp_path / "two")))
        assert refusal.kind == "conflict"
        assert set(refusal.consumers) == {"alpha", "beta"}
        assert refusal.library == BLAS

    def test_the_one_build_that_serves_is_found_behind_one_that_does_not(self, env: GpuEnv, tmp_path: Path) -> None:
        env.library(CUBLAS, BLAS, symbol="ONE")
        env.library(tmp_path / "two", BLAS, symbol="TWO")
        env.consumer("beta", needs=(f"{BLAS}:TWO",))
        assert directories(compute(env, folders=(tmp_path / "two",))) == [str(tmp_path / "two")]

    def test_what_only_torch_brings_by_accident_is_set_for_the_other_alone(self, env: GpuEnv) -> None:
        env.library(CUBLAS, BLAS)
        make_torch(env, BLAS, folder=CUBLAS)
        env.consumer("alpha", (BLAS,))
        assert directories(compute(env)) == [str(env.site / CUBLAS)]


def make_torch(env: GpuEnv, *opens: str, folder: str = "torch/lib") -> None:
    """Add torch, which finds its own libraries through a RUNPATH, as PyTorch's wheels do."""
    env.consumer("torch", opens, flags=runpath(f"$ORIGIN/../{folder}"))

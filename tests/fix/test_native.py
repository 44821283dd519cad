"""`fix --binary`: native programs that are compiled here, repaired, started, and brought back byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpudoctor.fix.plan import plan_fix
from gpudoctor.fix.repair import Workshop, see
from gpudoctor.fix.types import Plan
from gpudoctor.matrix.load import load_matrix
from gpudoctor.probes.take import SnapshotRequest
from gpudoctor.system.changes import RealChanges
from support.command import clean_environment, gpudoctor
from support.gpuenvs import compile_library
from support.repairs import HomedSystem, KilledChanges, in_child
from support.treestate import tree_state

CUBLAS = "libcublas.so.12"


@pytest.fixture
def fix(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: gpudoctor("fix", *arguments, XDG_STATE_HOME=str(tmp_path / "state"))


def program(folder: Path, name: str, library: Path, *flags: str) -> Path:
    """Compile a program that links a library, and prints its arguments and LD_LIBRARY_PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.parent / "main.c"
    source.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v) {\n"
        '  const char *p = getenv("LD_LIBRARY_PATH");\n  printf("%d %s %s", c, c > 1 ? v[1] : "", p ? p : "unset");\n'
        "  return 7;\n}\n"
    )
    command = ["gcc", "-Wl,--no-as-needed", source, library, "-o", folder / name, *flags]
    subprocess.run([*map(str, command)], check=True)
    return folder / name


@pytest.fixture
def daemon(tmp_path: Path) -> Path:
    """Make bin/daemon, which links cuBLAS from a build machine's folder; the library lies in lib."""
    (tmp_path / "app/lib").mkdir(parents=True)
    compile_library(tmp_path / "build", tmp_path / "app/lib" / CUBLAS, CUBLAS)
    return program(tmp_path / "app/bin", "daemon", tmp_path / "app/lib" / CUBLAS, "-Wl,-rpath,/build/machine/lib")


def start(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], env=clean_environment(**environment), capture_output=True, text=True)


Fix = Callable[..., subprocess.CompletedProcess[str]]


class TestWrapper:
    def test_planned_applied_started_undone(self, daemon: Path, fix: Fix, tmp_path: Path) -> None:
        before = tree_state(daemon.parent.parent)
        assert start(daemon).returncode == 127
        plan = json.loads(fix("--binary", daemon, "--format", "json").stdout)
        assert (plan["status"], plan["strategy"], plan["consumers"]) == ("pending", "wrapper", ["daemon"])
        assert [a["path"] for a in plan["actions"]] == [f"{daemon}-gpu"]
        assert tree_state(daemon.parent.parent) == before
        done = fix("--binary", daemon, "--apply", "--yes", "--format", "json")
        assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "applied")
        assert json.loads(done.stdout)["verified_by"] == "files"
        lib = daemon.parent.parent / "lib"
        ran = start(f"{daemon}-gpu", "a b", LD_LIBRARY_PATH="/before")
        assert (ran.returncode, ran.stdout) == (7, f"2 a b {lib}:/before")
        assert fix("--binary", daemon, "--apply", "--yes").returncode == 0  # twice is once
        assert len(json.loads(fix("--binary", daemon, "--list", "--format", "json").stdout)["runs"]) == 1
        assert fix("--binary", daemon, "--undo").returncode == 0
        assert tree_state(daemon.parent.parent) == before

    def test_a_name_that_needs_quoting(self, tmp_path: Path, fix: Fix) -> None:
        folder = tmp_path / "it's $HOME `id`"
        folder.mkdir()
        compile_library(tmp_path / "build", folder / CUBLAS, CUBLAS)
        odd = program(folder, "dae mon", folder / CUBLAS, "-Wl,-rpath,/build")
        assert fix("--binary", odd, "--apply", "--yes").returncode == 0
        assert start(f"{odd}-gpu").stdout == f"1  {folder}"

    def test_somebody_else_s_file_is_not_replaced(self, daemon: Path, fix: Fix) -> None:
        other = Path(f"{daemon}-gpu")
        other.write_text("#!/bin/sh\necho mine\n")
        done = fix("--binary", daemon, "--strategy", "wrapper", "--apply", "--yes")
        assert (done.returncode, other.read_text()) == (1, "#!/bin/sh\necho mine\n")
        assert "none of gpudoctor's" in done.stdout

    def test_the_program_is_never_started(self, daemon: Path, fix: Fix, tmp_path: Path) -> None:
        (tmp_path / "mark.c").write_text(
            '#include <fcntl.h>\n__attribute__((constructor)) static void f(void) { creat("%s", 0644); }\n'
            % (tmp_path / "ran")
        )
        library = daemon.parent.parent / "lib" / CUBLAS
        command = ["gcc", "-shared", "-fPIC", tmp_path / "mark.c", "-o", library, f"-Wl,-soname,{CUBLAS}"]
        subprocess.run([*map(str, command)], check=True)
        assert fix("--binary", daemon, "--apply", "--yes").returncode == 0
        assert not (tmp_path / "ran").exists()
        assert start(f"{daemon}-gpu").returncode == 7
        assert (tmp_path / "ran").exists()


class TestOtherWays:
    def test_a_file_of_variables(self, daemon: Path, fix: Fix) -> None:
        before = tree_state(daemon.parent)
        assert fix("--binary", daemon, "--strategy", "env-file", "--apply", "--yes").returncode == 0
        name, _, value = Path(f"{daemon}.gpudoctor.env").read_text().strip().partition("=")
        assert start(daemon, **{name: value}).returncode == 7
        fix("--binary", daemon, "--undo")
        assert tree_state(daemon.parent) == before

    def test_links_where_the_program_looks_beside_itself(self, tmp_path: Path, fix: Fix) -> None:
        compile_library(tmp_path / "build", tmp_path / CUBLAS, CUBLAS)
        (tmp_path / "app/lib").mkdir(parents=True)
        compile_library(tmp_path / "build", tmp_path / "app/lib" / CUBLAS, CUBLAS)
        found = program(tmp_path / "app", "daemon", tmp_path / CUBLAS, "-Wl,-rpath,$ORIGIN")
        before = tree_state(tmp_path / "app")
        assert fix("--binary", found, "--apply", "--yes").returncode == 0
        assert (tmp_path / "app" / CUBLAS).is_symlink()
        assert start(found).stdout == "1  unset"
        assert start("env", "-i", found).returncode == 7
        assert fix("--binary", found).stdout.startswith("nothing to do")
        fix("--binary", found, "--undo")
        assert tree_state(tmp_path / "app") == before

    @pytest.mark.parametrize("strategy", ["hook", "activate", "conda"])
    def test_what_is_python_s_is_refused(self, daemon: Path, fix: Fix, strategy: str) -> None:
        done = fix("--binary", daemon, "--strategy", strategy)
        assert done.returncode == 1
        assert "for a native program there are links, wrapper, env-file, show" in done.stdout

    def test_a_set_id_program_is_not_given_a_variable_that_it_ignores(self, daemon: Path, fix: Fix) -> None:
        daemon.chmod(0o4755)
        done = fix("--binary", daemon)
        assert done.returncode == 1
        assert "set-user-id" in done.stdout


def test_onnx_runtime_beside_a_daemon(tmp_path: Path, fix: Fix) -> None:
    """The runtime opens its CUDA provider from its own folder; what that links lies in another one."""
    app, away = tmp_path / "app", tmp_path / "app/lib"
    away.mkdir(parents=True)
    build = tmp_path / "build"
    compile_library(build, away / CUBLAS, CUBLAS)
    compile_library(build, app / "libonnxruntime_providers_shared.so", "libonnxruntime_providers_shared.so")
    own = "-Wl,-rpath,$ORIGIN"
    compile_library(
        build,
        app / "libonnxruntime_providers_cuda.so",
        "libonnxruntime_providers_cuda.so",
        needs=(f"{CUBLAS}:",),
        flags=(own,),
    )
    compile_library(build, app / "libonnxruntime.so.1", "libonnxruntime.so.1")
    runtime = program(app, "daemon", app / "libonnxruntime.so.1", own)
    provider = app / "libonnxruntime_providers_cuda.so"
    opened = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(provider)!r})"]
    before = tree_state(app)
    assert start(*opened).returncode == 1
    done = fix("--binary", runtime, "--apply", "--yes")
    assert done.returncode == 0, done.stdout
    assert start(*opened).returncode == 0
    assert start(runtime).returncode == 7
    fix("--binary", runtime, "--undo")
    assert tree_state(app) == before


OPENER = """
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    const char *message = "cannot load libcurand.so.10";
    int failed = 0;
    if (!dlopen("libcudnn.so.9", RTLD_NOW)) { puts(dlerror()); failed = 1; }
    if (!dlopen("libcublas.so.12", RTLD_NOW) && !dlopen("libcublas.so.11", RTLD_NOW)) { puts(dlerror()); failed = 1; }
    if (!dlopen("libnvinfer.so.10", RTLD_NOW)) puts("no TensorRT");
    if (!dlopen("libcuda.so.1", RTLD_NOW)) puts(message);
    return failed;
}
"""


class TestOpenedByName:
    """A daemon that links nothing of CUDA: only names among its constants tell what it opens while it runs."""

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Path:
        """Make bin/opener; what it opens lies in lib, where it does not look."""
        (tmp_path / "app/lib").mkdir(parents=True)
        (tmp_path / "app/bin").mkdir()
        for name in ("libcudnn.so.9", CUBLAS):
            compile_library(tmp_path / "build", tmp_path / "app/lib" / name, name)
        for part in ("graph", "ops", "cnn", "engines_precompiled", "heuristic", "engines_runtime_compiled"):
            name = f"libcudnn_{part}.so.9"
            compile_library(tmp_path / "build", tmp_path / "app/lib" / name, name)
        (tmp_path / "main.c").write_text(OPENER)
        subprocess.run(["gcc", tmp_path / "main.c", "-o", tmp_path / "app/bin/opener", "-ldl"], check=True)
        return tmp_path / "app/bin/opener"

    def check(self, opener: Path, *arguments: str) -> dict[str, Any]:
        done = gpudoctor("check", "--binary", opener, "--format", "json", *arguments)
        assert done.returncode == 0, done  # what is only perhaps opened is no error
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def test_it_starts_after_a_repair_and_no_more_after_undo(self, opener: Path, fix: Fix) -> None:
        before = tree_state(opener.parent.parent)
        assert start(opener).returncode == 1
        plan = json.loads(fix("--binary", opener, "--format", "json").stdout)
        assert (plan["strategy"], len(plan["ends"])) == ("wrapper", 2)
        assert fix("--binary", opener, "--apply", "--yes").returncode == 0
        ran = start(f"{opener}-gpu")
        assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, "no TensorRT")
        again = fix("--binary", opener, "--apply", "--yes")
        assert (again.returncode, "nothing to do" in again.stdout) == (0, True)
        assert fix("--binary", opener, "--undo").returncode == 0
        assert tree_state(opener.parent.parent) == before
        assert start(opener).returncode == 1

    def test_a_warning_names_the_repair_of_this_very_program(self, opener: Path) -> None:
        found = [f for f in self.check(opener)["findings"] if f["rule"] == "GPD201"]
        assert {f["level"] for f in found} == {"warning"}
        assert {f["cause"] for f in found} == {"cudnn-not-loadable", "cuda-lib-not-loadable"}
        for finding in found:
            commands = [c for x in finding["fixes"] for c in x["commands"]]
            assert commands[:2] == [
                f"gpudoctor fix --binary {opener} --apply",
                f"gpudoctor run --binary {opener} -- COMMAND",
            ]

    def test_what_is_nowhere_is_an_open_question(self, opener: Path) -> None:
        lib = opener.parent.parent / "lib"
        document = self.check(opener, "--env", f"LD_LIBRARY_PATH={lib}")
        assert [f for f in document["findings"] if f["rule"] == "GPD201"] == []
        told = [q["reason"] for q in document["open"] if q["rule"] == "GPD201"]
        assert told == [
            "opener holds the name of libnvinfer.so.10, found nowhere: whether it opens any of them, its files do not "
            "tell"
        ]

    def test_the_loader_itself_agrees(self, opener: Path) -> None:
        lib = opener.parent.parent / "lib"
        environment = {"LD_LIBRARY_PATH": str(lib)}
        trace = start(opener, **environment, LD_DEBUG="files").stderr
        opened = {line.split("file=")[1].split()[0] for line in trace.splitlines() if "dynamically loaded by" in line}
        told = gpudoctor("libs", "--binary", opener, "--format", "json", **environment)
        rows = [r for r in json.loads(told.stdout)["resolutions"] if r["assumed"] and r["requester"] == "opener"]
        assert opened - {"libcuda.so.1", "libcublas.so.11"} == {r["soname"] for r in rows}
        missing = {"libnvinfer.so.10"}
        assert {r["soname"] for r in rows if r["outcome"] == "absent"} == missing

    def test_run_and_env_serve_it(self, opener: Path) -> None:
        ran = gpudoctor("run", "--binary", opener, "--", opener)
        assert ran.returncode == 0, ran
        told = gpudoctor("env", "--binary", opener, "--shell", "json")
        assert start(opener, **json.loads(told.stdout)["variables"]).returncode == 0

    def test_one_that_links_a_release_is_not_asked_for_another(self, opener: Path, tmp_path: Path) -> None:
        lib = opener.parent.parent / "lib"
        source = (
            'int work(void); const char *f(void) { work(); return "libcublas.so.11"; } int main(void) { return !f(); }'
        )
        (tmp_path / "linked.c").write_text(source)
        command = ["gcc", tmp_path / "linked.c", lib / CUBLAS, "-o", opener, f"-Wl,-rpath,{lib}"]
        subprocess.run([*map(str, command)], check=True)
        told = gpudoctor("libs", "--binary", opener, "--format", "json")
        rows = json.loads(told.stdout)["resolutions"]
        assert [(r["soname"], r["outcome"]) for r in rows] == [(CUBLAS, "present")]


def test_a_folder_of_libraries_has_no_wrapper(tmp_path: Path, fix: Fix) -> None:
    folder = tmp_path / "app"
    (folder / "lib").mkdir(parents=True)
    compile_library(tmp_path / "build", folder / "lib" / CUBLAS, CUBLAS)
    compile_library(tmp_path / "build", folder / "engine.so", "engine.so", needs=(f"{CUBLAS}:",))
    plan = json.loads(fix("--binary", folder, "--format", "json").stdout)
    assert (plan["strategy"], [a["path"] for a in plan["actions"]]) == ("env-file", [str(folder / "gpudoctor.env")])
    assert "is no program" in plan["why"]


@pytest.mark.parametrize("moment", range(10))
def test_killed_at_any_moment_it_is_brought_back(daemon: Path, tmp_path: Path, fix: Fix, moment: int) -> None:
    system = HomedSystem(tmp_path / "state")
    before, matrix = tree_state(daemon.parent.parent), load_matrix(None)
    request = SnapshotRequest(binary=str(daemon), own_python=sys.executable)

    def apply() -> None:
        plan = plan_fix(system, RealChanges(), matrix, see(system, matrix, request))
        assert isinstance(plan, Plan), plan
        workshop = Workshop(system, KilledChanges(moment), str(daemon))
        with workshop.lock():
            workshop.carry_out(matrix, request, plan)

    assert in_child(apply) != 0, "it ended before that moment"
    checked = gpudoctor("check", "--binary", daemon, "--select", "GPD902", XDG_STATE_HOME=str(tmp_path / "state"))
    if tree_state(daemon.parent.parent) != before:
        assert f"gpudoctor fix --binary {daemon} --undo" in checked.stdout
    if checked.returncode == 1:
        assert fix("--binary", daemon, "--undo").returncode == 0
    assert tree_state(daemon.parent.parent) == before


@pytest.mark.parametrize(
    "arguments", [("--for", "torch"), ("--packages",), ("--apply", "--undo"), ("--strategy", "nonsense")]
)
def test_wrong_usage(daemon: Path, fix: Fix, arguments: tuple[str, ...]) -> None:
    done = fix("--binary", daemon, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_what_cannot_be_repaired_is_one_sentence(daemon: Path, fix: Fix, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    for path, status in ((tmp_path / "none", 2), (tmp_path / "text", 2), (Path("/bin/true"), 2), ("", 2)):
        done = fix("--binary", path)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1), (path, done)
    (daemon.parent.parent / "lib" / CUBLAS).unlink()
    checked = json.loads(gpudoctor("check", "--binary", daemon, "--format", "json").stdout)
    (lost,) = (f for f in checked["findings"] if f["rule"] == "GPD201")
    assert lost["fixes"][0]["commands"] == [
        'pip install "nvidia-cublas-cu12"',
        f"gpudoctor fix --binary {daemon} --python ENVIRONMENT --apply",
    ]
    done = fix("--binary", daemon)
    assert (done.returncode, "nvidia-cublas-cu12 would bring it" in done.stdout) == (1, True)

"""Repairs of environments made from real wheels: what aborted works, however it is started, and aborts again after."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.command import GPUDOCTOR, clean_environment, gpudoctor
from support.shells import need_program
from support.treestate import changed, hard_copy, tree_state
from support.wheels import nvidia_dirs, site_packages, wheel_env

pytestmark = pytest.mark.wheels

SIGABRT = -6
# What a first transcription on the GPU does and a machine without one can do too: each descriptor makes cuDNN's
# dispatch library open another part, and aborts the process when that is not found.
PROGRAM = """\
import ctranslate2, ctypes, glob, os
site = os.path.dirname(os.path.dirname(ctranslate2.__file__))
shim = ctypes.CDLL(glob.glob(site + "/ctranslate2.libs/libcudnn-*")[0])
descriptor = ctypes.c_void_p()
for call in ("cudnnCreateTensorDescriptor", "cudnnCreateConvolutionDescriptor"):
    assert getattr(shim, call)(ctypes.byref(descriptor)) == 0, call
shim.cudnnGetVersion.restype = ctypes.c_size_t
print("works", shim.cudnnGetVersion())
print(sorted({line.split()[-1] for line in open("/proc/self/maps") if "libcudnn_" in line}))
"""
WORKS = "works 90100\n"
ABORTED = "Unable to load any of {libcudnn_ops.so.9.1.0"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return file


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def start(env: Path, program: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the program as a service would: by the interpreter's path, nothing activated, nothing else set."""
    return subprocess.run(
        [env / "bin/python", *options, program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def start_from_node(env: Path, program: Path) -> dict[str, object]:
    """Start the program as a Node service does: with the README's own example."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    script = readme.split("<!-- node-example", 1)[1].split("```js\n", 1)[1].split("```", 1)[0]
    (spawn := program.with_name("spawn.js")).write_text(script, encoding="utf-8")
    node = need_program("node", "nodejs")
    done = subprocess.run(
        [node, spawn, env / "bin/python", program],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def fix(env: Path, *arguments: str, status: int = 0, **environment: str) -> dict:
    done = gpudoctor("fix", "--python", env, "--format", "json", *arguments, **environment)
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def errors(env: Path, **environment: str) -> list[tuple[str, str]]:
    done = gpudoctor("check", "--python", env, "--format", "json", **environment)
    found = json.loads(done.stdout)["findings"]
    return [(f["rule"], f["cause"]) for f in found if f["level"] == "error" and f["rule"].startswith("GPD2")]


def test_an_aborting_environment_works_and_aborts_again_after_undo(
    tmp_path: Path, program: Path, state: dict[str, str]
) -> None:
    original = wheel_env("ct2-460-cudnn91")
    env = hard_copy(original, tmp_path / "env")
    hostile = nvidia_dirs(wheel_env("ct2-460-cudnn910"))
    done = start(env, program)  # compiles every module that it imports, which is no part of the repair
    assert done.returncode == SIGABRT
    assert ABORTED in done.stderr
    assert start_from_node(env, program)["signal"] == "SIGABRT"
    before, untouched = tree_state(env), tree_state(original)

    plan = fix(env, status=1, **state)
    assert (plan["status"], plan["strategy"], plan["applicability"]) == ("pending", "hook", "safe")
    assert tree_state(env) == before
    assert not (tmp_path / "state").exists() or not list((tmp_path / "state").rglob("journal"))

    applied = fix(env, "--apply", "--yes", **state)
    assert (applied["status"], applied["verified_by"]) == ("applied", "canary")
    assert errors(env) == []
    for environment in ({}, {"LD_LIBRARY_PATH": ":".join(hostile)}, {"LD_LIBRARY_PATH": "/nonexistent"}):
        done = start(env, program, **environment)
        assert (done.returncode, done.stderr) == (0, ""), environment
        assert done.stdout.startswith(WORKS)
        assert str(tmp_path / "env") in done.stdout
        assert "cudnn910" not in done.stdout
    done = start(env, program, "-I")
    assert done.stdout.startswith(WORKS)
    from_node = start_from_node(env, program)
    assert (from_node["status"], from_node["err"]) == (0, "")
    assert str(from_node["out"]).startswith(WORKS)

    again = fix(env, "--apply", "--yes", **state)
    assert again["status"] == "nothing-to-do"
    assert [r["state"] for r in fix(env, "--list", **state)["runs"]] == ["applied"]

    undone = fix(env, "--undo", **state)
    assert (undone["status"], undone["left"]) == ("undone", [])
    assert changed(before, tree_state(env)) == []
    assert changed(untouched, tree_state(original)) == []
    assert start(env, program).returncode == SIGABRT
    assert start_from_node(env, program)["signal"] == "SIGABRT"
    assert [r["state"] for r in fix(env, "--list", **state)["runs"]] == ["undone"]


def test_a_moved_environment_still_works(tmp_path: Path, program: Path, state: dict[str, str]) -> None:
    env = hard_copy(wheel_env("ct2-460-cudnn91"), tmp_path / "env")
    assert fix(env, "--apply", "--yes", **state)["status"] == "applied"
    moved = env.rename(tmp_path / "a folder: 'moved' $HOME")
    done = start(moved, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(WORKS)
    assert errors(moved) == []


def test_torch_keeps_its_own_libraries(tmp_path: Path, program: Path, state: dict[str, str]) -> None:
    env = hard_copy(wheel_env("torch-251-ct2-460"), tmp_path / "env")
    before = _libs(env, "torch")
    assert fix(env, "--apply", "--yes", **state)["status"] == "applied"
    assert _libs(env, "torch") == before
    assert errors(env) == []
    for order in ("import torch, ctranslate2", "import ctranslate2, torch"):
        program.write_text(f"{order}\n{PROGRAM}")
        done = start(env, program)
        assert (done.returncode, done.stderr) == (0, ""), order
        assert done.stdout.startswith(WORKS)


def _libs(env: Path, consumer: str) -> dict[str, str]:
    done = gpudoctor("libs", "--python", env, "--for", consumer, "--format", "json")
    return {r["role"]: os.path.realpath(r["path"]) for r in json.loads(done.stdout)["resolutions"] if r["path"]}


def test_a_repair_that_would_shadow_torchs_libraries_is_refused(tmp_path: Path, state: dict[str, str]) -> None:
    """torch's cuDNN is too old for ctranslate2's dispatch library; the newer one beside it would reach torch too."""
    env = hard_copy(wheel_env("torch-251-ct2-460"), tmp_path / "env")
    site = site_packages(env)
    info = (site / "nvidia_cudnn_cu12-9.1.0.70.dist-info").rename(site / "nvidia_cudnn_cu12-9.0.0.312.dist-info")
    for name in ("METADATA", "RECORD"):
        text = (info / name).read_text().replace("9.1.0.70", "9.0.0.312")
        (info / name).unlink()  # a hard link
        (info / name).write_text(text)
    other = site_packages(wheel_env("ct2-460-cudnn910"))
    (site / "nvidia/cudnn_new").mkdir()
    subprocess.run(["cp", "-al", other / "nvidia/cudnn/lib", site / "nvidia/cudnn_new/lib"], check=True)
    before = tree_state(env)
    refused = fix(env, "--apply", "--yes", status=1, **state)
    assert refused["status"] == "refused", refused
    assert "torch" in refused["reason"]
    assert "cudnn_new" in refused["reason"]
    assert tree_state(env) == before


def test_onnxruntime_gets_all_fourteen_libraries(tmp_path: Path, state: dict[str, str]) -> None:
    env = hard_copy(wheel_env("ort-1202-cuda12"), tmp_path / "env")
    assert errors(env)
    applied = fix(env, "--apply", "--yes", **state)
    assert (applied["status"], applied["verified_by"]) == ("applied", "canary")
    assert errors(env) == []


def test_what_is_not_installed_is_said(tmp_path: Path, state: dict[str, str]) -> None:
    env = hard_copy(wheel_env("ct2-460-bare"), tmp_path / "env")
    refused = fix(env, "--apply", "--yes", status=1, **state)
    assert refused["status"] == "refused"
    assert "nvidia-cublas-cu12" in refused["reason"]
    assert refused["reason"].endswith(f"to install it too: gpudoctor fix --python {env} --packages --apply")
    ran = gpudoctor("run", "--python", env, "--", "true")
    way_out = f"`gpudoctor fix --python {env}/bin/python --packages --apply` can install it; true was not run"
    assert (ran.returncode, way_out in ran.stderr) == (1, True)


class TestOtherStrategies:
    """Each on the environment that aborts, started in the way that the strategy is for."""

    @pytest.fixture
    def env(self, tmp_path: Path) -> Path:
        return hard_copy(wheel_env("ct2-460-cudnn91"), tmp_path / "it's an env")

    def repaired(self, env: Path, program: Path, strategy: str, state: dict[str, str]) -> dict[str, tuple[object, ...]]:
        assert start(env, program).returncode == SIGABRT
        before = tree_state(env)
        applied = fix(env, "--apply", "--yes", "--strategy", strategy, **state)
        assert (applied["status"], applied["verified_by"], applied["strategy"]) == ("applied", "canary", strategy)
        return before

    def test_links_work_without_site_too(self, env: Path, program: Path, state: dict[str, str]) -> None:
        before = self.repaired(env, program, "links", state)
        for options in ((), ("-I",)):
            done = start(env, program, *options)
            assert (done.returncode, done.stderr) == (0, ""), options
            assert done.stdout.startswith(WORKS)
        program.write_text(f"import sys; sys.path.append({str(site_packages(env))!r})\n{PROGRAM}")
        assert start(env, program, "-S").stdout.startswith(WORKS)
        assert errors(env) == []
        fix(env, "--undo", **state)
        assert changed(before, tree_state(env)) == []
        assert start(env, program).returncode == SIGABRT

    def test_a_wrapper_works_for_who_calls_it(self, env: Path, program: Path, state: dict[str, str]) -> None:
        before = self.repaired(env, program, "wrapper", state)
        done = subprocess.run(
            [env / "bin/python-gpu", program], env={}, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(WORKS)
        assert start(env, program).returncode == SIGABRT
        fix(env, "--undo", **state)
        assert changed(before, tree_state(env)) == []

    @pytest.mark.parametrize(
        ("shell", "script"),
        [("bash", "activate"), ("dash", "activate"), ("zsh", "activate"), ("fish", "activate.fish")],
    )
    def test_an_activated_shell(self, env: Path, program: Path, state: dict[str, str], shell: str, script: str) -> None:
        before = self.repaired(env, program, "activate", state)
        quoted = "'" + str(env / "bin" / script).replace("'", "\\'" if shell == "fish" else "'\\''") + "'"
        verb = "source" if shell == "fish" else "."
        done = subprocess.run(
            [need_program(shell, shell), "-c", f"{verb} {quoted}; exec python {program}"],
            env=clean_environment(PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.startswith(WORKS), done.stderr
        fix(env, "--undo", **state)
        assert changed(before, tree_state(env)) == []

    def test_an_environment_file(self, env: Path, program: Path, state: dict[str, str]) -> None:
        before = self.repaired(env, program, "env-file", state)
        assert errors(env) != []
        done = gpudoctor("check", "--python", env, "--env-file", env / "gpudoctor.env", "--format", "json")
        rules = [f["rule"] for f in json.loads(done.stdout)["findings"] if f["level"] == "error"]
        assert not [r for r in rules if r.startswith("GPD2")]
        fix(env, "--undo", **state)
        assert changed(before, tree_state(env)) == []

    def test_what_is_only_shown_changes_nothing(self, env: Path, state: dict[str, str]) -> None:
        before = tree_state(env)
        shown = fix(env, "--apply", "--yes", "--strategy", "show", status=1, **state)
        assert (shown["status"], shown["applicability"]) == ("pending", "display-only")
        assert tree_state(env) == before


class TestAsking:
    def test_nobody_to_ask(self, tmp_path: Path, state: dict[str, str]) -> None:
        env = hard_copy(wheel_env("ct2-485-cublas12"), tmp_path / "env")
        before = tree_state(env)
        done = gpudoctor("fix", "--python", env, "--apply", stdin="y\n", **state)
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            done.stderr
            == "gpudoctor: standard input is no terminal, so nobody can be asked: add --yes to apply the plan\n"
        )
        assert tree_state(env) == before

    @pytest.mark.parametrize(("answer", "status"), [("n", 130), ("y", 0)])
    def test_the_plan_is_shown_before_the_question(
        self, tmp_path: Path, state: dict[str, str], answer: str, status: int
    ) -> None:
        env = hard_copy(wheel_env("ct2-485-cublas12"), tmp_path / "env")
        said, ended = _in_terminal(env, answer, state)
        assert ended == status, said
        assert said.index("_gpudoctor_preload.py") < said.index("Apply it?")
        assert "nothing was changed" not in said  # not yet an outcome
        assert (site_packages(env) / "gpudoctor_preload.pth").exists() == (answer == "y")


def _in_terminal(env: Path, answer: str, state: dict[str, str]) -> tuple[str, int]:
    """Run `fix --apply` on a terminal of its own and answer its question."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        command = [str(GPUDOCTOR), "fix", "--python", str(env), "--apply"]
        os.execve(command[0], command, clean_environment(**state))
    said = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
        if said.endswith(b"[y/N]: "):
            os.write(terminal, answer.encode() + b"\n")
    return said.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_user_without_rights_is_told_so(tmp_path: Path) -> None:
    from fakehw.unprivileged import unprivileged_prefix

    if os.geteuid() != 0:
        pytest.skip("needs root, whose rights are dropped")
    env = hard_copy(wheel_env("ct2-485-cublas12"), tmp_path / "env")
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    before = tree_state(env)
    wrapper = unprivileged_prefix((GPUDOCTOR, env / "bin/python"))
    done = gpudoctor(
        "fix", "--python", env, "--apply", "--yes", "--strategy", "hook", wrapper=wrapper, XDG_STATE_HOME=str(state)
    )
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "this user may not write there" in done.stdout
    assert "Traceback" not in done.stderr
    assert tree_state(env) == before

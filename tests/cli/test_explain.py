"""`gpudoctor explain` as a user runs it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import jsonschema
import pytest

from support.command import GPUDOCTOR, clean_environment, gpudoctor

SCHEMAS = Path(__file__).parents[2] / "compat" / "schema"
OOM = "RuntimeError: CUDA failed with error out of memory"
LOST = "Unable to load any of {libcudnn_ops.so.9.1.0, libcudnn_ops.so.9.1, libcudnn_ops.so.9, libcudnn_ops.so}"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "run.log"
    file.write_text(f"starting\n{LOST}\nInvalid handle. Cannot load symbol cudnnCreateTensorDescriptor\nAborted\n")
    return file


class TestAnswer:
    def test_a_recognised_cause_is_status_1(self, log: Path) -> None:
        done = gpudoctor("explain", log)
        assert (done.returncode, done.stderr) == (1, "")
        assert "cudnn-not-loadable" in done.stdout
        assert "line 2" in done.stdout

    def test_nothing_recognised_is_status_0_and_says_what_to_send(self) -> None:
        done = gpudoctor("explain", stdin="hello\n")
        assert done.returncode == 0
        assert "not recognised" in done.stdout
        assert "gpudoctor snapshot" in done.stdout

    @pytest.mark.parametrize("argument", [(), ("-",)], ids=["piped", "dash"])
    def test_standard_input(self, argument: tuple[str, ...]) -> None:
        assert gpudoctor("explain", *argument, stdin=OOM).returncode == 1

    def test_json_is_of_its_schema(self, log: Path) -> None:
        document = json.loads(gpudoctor("explain", log, "--format", "json").stdout)
        jsonschema.validate(document, json.loads((SCHEMAS / "explanation.json").read_text()))
        cause = document["causes"][0]
        assert (cause["cause"], cause["line"], cause["rules"][0]) == ("cudnn-not-loadable", 2, "GPD201")
        assert cause["confidence"] > 0.9
        assert {"excerpt", "explanation", "fixes"} <= cause.keys()

    def test_markdown_to_a_file(self, log: Path, tmp_path: Path) -> None:
        done = gpudoctor("explain", log, "--format", "markdown", "-o", tmp_path / "a.md")
        assert (done.returncode, done.stdout) == (1, "")
        assert (tmp_path / "a.md").read_text().startswith("# What ")

    def test_a_named_pipe(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with subprocess.Popen(["sh", "-c", f"echo '{OOM}' > {pipe}"]):
            assert gpudoctor("explain", pipe).returncode == 1


class TestSafe:
    HOSTILE = f"\x1b]0;pwned\x07\u202e {OOM} [bold]x[/bold] <script>`|*# \x9b31m token=abcdef1234567890 /home/ann/x"

    @pytest.mark.parametrize("form", ["text", "json", "markdown"])
    def test_a_hostile_line(self, form: str) -> None:
        done = gpudoctor("explain", "--format", form, "-v", stdin=self.HOSTILE)
        assert done.returncode == 1
        assert not [c for c in done.stdout if not c.isprintable() and c != "\n"]
        assert "abcdef1234567890" not in done.stdout
        assert "/ann/" not in done.stdout

    @pytest.mark.parametrize("argument", ["{tmp}/absent.log", "{tmp}"], ids=["absent", "a folder"])
    def test_an_unreadable_log_is_one_sentence_and_status_2(self, argument: str, tmp_path: Path) -> None:
        done = gpudoctor("explain", argument.replace("{tmp}", str(tmp_path)))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)

    def test_a_message_instead_of_a_file_is_told_how(self) -> None:
        done = gpudoctor("explain", "RuntimeError: Library libcublas.so.12 is not found")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "| gpudoctor explain" in done.stderr

    @pytest.mark.parametrize("arguments", [("x.log", "--", "true"), ("--",), ("--python", "/x", "x.log"), ("--no",)])
    def test_wrong_usage(self, arguments: tuple[str, ...]) -> None:
        done = gpudoctor("explain", *arguments, stdin="")
        assert (done.returncode, done.stdout) == (2, "")

    def test_check_never_loads_the_signatures(self, tmp_path: Path) -> None:
        code = (
            "import sys; from gpudoctor.cli.app import run; run(['check', '--assume-driver', '550.54.15']);"
            "sys.exit(any(m.startswith('gpudoctor.explain.') or m == 'ahocorasick_rs' for m in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=clean_environment(), check=False)
        assert done.returncode == 0


class TestCommand:
    def test_success_is_silent(self) -> None:
        done = gpudoctor("explain", "--", "sh", "-c", f"echo '{OOM}'; echo e >&2")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{OOM}\n", "e\n")

    def test_failure_is_explained_on_standard_error(self) -> None:
        done = gpudoctor("explain", "--", "sh", "-c", f"echo out; echo '{OOM}' >&2; exit 3")
        assert (done.returncode, done.stdout) == (3, "out\n")
        assert done.stderr.startswith(OOM)
        assert "gpu-oom" in done.stderr

    def test_a_death_by_signal_is_evidence(self) -> None:
        done = gpudoctor("explain", "--", "sh", "-c", f"echo '{LOST}' >&2; kill -ABRT $$")
        assert done.returncode == 128 + signal.SIGABRT
        assert "SIGABRT" in done.stderr
        assert "cudnn-not-loadable" in done.stderr

    def test_a_silent_kill_has_no_cause_but_a_word(self) -> None:
        done = gpudoctor("explain", "--format", "json", "--", "sh", "-c", "kill -KILL $$")
        document = json.loads(done.stderr)
        assert (done.returncode, document["causes"], document["ending"]["signal"]) == (137, [], "SIGKILL")
        assert "main memory" in document["ending"]["explanation"]

    def test_silence_is_said(self) -> None:
        done = gpudoctor("explain", "--", "sh", "-c", "exit 3")
        assert (done.returncode, done.stdout) == (3, "")
        assert "printed nothing" in done.stderr
        assert "gpudoctor explain --" not in done.stderr

    def test_bytes_pass_unchanged(self) -> None:
        script = "printf 'a\\000\\377 no end'; printf 'e\\376' >&2"
        done = subprocess.run(
            [GPUDOCTOR, "explain", "--", "sh", "-c", script], capture_output=True, env=clean_environment(), check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"a\x00\xff no end", b"e\xfe")

    @pytest.mark.parametrize("name", ["SEGV", "ABRT", "KILL", "BUS", "ILL"])
    def test_the_status_of_a_death_by_signal(self, name: str) -> None:
        done = gpudoctor("explain", "--", "sh", "-c", f"kill -{name} $$")
        assert done.returncode == 128 + getattr(signal, f"SIG{name}")
        assert f"SIG{name}" in done.stderr

    def test_ctrl_c_reaches_the_command_and_is_no_fault(self) -> None:
        script = "trap 'exit 130' INT; echo ready; while :; do sleep 0.05; done"
        leader, follower = os.openpty()
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the child becomes the command
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background was started with it ignored
            fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
            for descriptor in (0, 1, 2):
                os.dup2(follower, descriptor)
            os.execve(GPUDOCTOR, ["gpudoctor", "explain", "--", "sh", "-c", script], clean_environment())
        os.close(follower)
        shown = b""
        while b"ready" not in shown:
            shown += os.read(leader, 4096)
        os.write(leader, b"\x03")
        _, status = os.waitpid(pid, 0)
        os.close(leader)
        assert os.waitstatus_to_exitcode(status) == 130

    def test_standard_input_is_the_commands(self) -> None:
        assert gpudoctor("explain", "--", "cat", stdin="to the child").stdout == "to the child"

    @pytest.mark.parametrize(("command", "status"), [("/no/such/program", 127), ("/etc/hostname", 126)])
    def test_a_command_that_cannot_be_started(self, command: str, status: int) -> None:
        done = gpudoctor("explain", "--", command)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)

    def test_its_options_are_its_own(self) -> None:
        assert gpudoctor("explain", "--", "echo", "--help", "--", "x").stdout == "--help -- x\n"

    def test_signals_are_passed_on(self) -> None:
        script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
        with subprocess.Popen(
            [GPUDOCTOR, "explain", "--", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env=clean_environment(),
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.terminate()
            assert process.stdout.read() == b"got\n"
        assert process.returncode == 5

    def test_output_passes_as_it_comes(self) -> None:
        script = "import sys,time; print('one', flush=True); time.sleep(20)"
        with subprocess.Popen(
            [GPUDOCTOR, "explain", "--", sys.executable, "-c", script], stdout=subprocess.PIPE, env=clean_environment()
        ) as process:
            assert process.stdout is not None
            started = time.monotonic()
            assert process.stdout.readline() == b"one\n"
            assert time.monotonic() - started < 15
            process.terminate()


class TestCheck:
    @pytest.fixture
    def snapshot(self) -> Path:
        return Path(__file__).parents[1] / "environments" / "synthetic-driver-missing" / "snapshot.json"

    def test_rules_decide_between_the_causes(self, snapshot: Path) -> None:
        text = "RuntimeError: CUDA failed with error CUDA driver version is insufficient for CUDA runtime version\n"
        alone = json.loads(gpudoctor("explain", "--format", "json", stdin=text).stdout)
        assert alone["causes"][0]["cause"] == "driver-too-old"
        done = gpudoctor("explain", "--check", "--snapshot", snapshot, "--format", "json", stdin=text)
        document = json.loads(done.stdout)
        assert document["causes"][0]["cause"] == "driver-missing"
        assert document["causes"][0]["decided"].startswith("GPD101 finds it")
        assert document["decided_by"] == str(snapshot)

    def test_on_this_machine(self, log: Path) -> None:
        done = gpudoctor("explain", log, "--check", "--python", sys.executable, "--format", "json")
        document = json.loads(done.stdout)
        assert done.returncode == 1
        assert document["causes"][0]["decided"]
        assert sys.executable in document["decided_by"]
        own = [c for cause in document["causes"] for f in cause["fixes"] for c in f["commands"] if "gpudoctor " in c]
        assert own
        assert not [command for command in own if sys.executable not in command]

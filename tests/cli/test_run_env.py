"""`gpudoctor run` and `gpudoctor env` as a user types them, with real programs behind them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.command import GPUDOCTOR, clean_environment, gpudoctor
from support.gpuenvs import compile_library

PYTHON = sys.executable


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment in which no consumer is installed: nothing is ever needed."""
    folder = tmp_path_factory.mktemp("plain") / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one with what looks like ctranslate2 4.8.5: its library opens cuBLAS 12, which is not there."""
    folder = tmp_path_factory.mktemp("broken") / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python3*")) / "site-packages"
    package = site / "ctranslate2"
    package.mkdir()
    libs = site / "ctranslate2.libs"
    libs.mkdir()
    library = libs / "libctranslate2-0123abcd.so.4.8.5"
    for out, soname, more in (
        (library, library.name, ()),
        (package / "_ext.cpython-311-x86_64-linux-gnu.so", "_ext", (str(library), f"-Wl,-rpath,{libs}")),
    ):
        compile_library(tmp_path_factory.mktemp("build"), out, soname, flags=more)
    info = site / "ctranslate2-4.8.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ctranslate2\nVersion: 4.8.5\n")
    return folder


def start(*arguments: str | Path, **streams: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [GPUDOCTOR, "run", "--python", PYTHON, "--", *arguments], env=clean_environment(), **streams
    )


class TestRunTakesTheProgramsPlace:
    @pytest.mark.parametrize("status", [0, 1, 2, 3, 70, 126, 127, 255])
    def test_the_exit_status_is_the_program_s(self, plain: Path, status: int) -> None:
        assert gpudoctor("run", "--python", plain, "--", "sh", "-c", f"exit {status}").returncode == status

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
    def test_a_program_that_dies_of_a_signal_dies_of_it(self, plain: Path, number: signal.Signals) -> None:
        done = gpudoctor("run", "--python", plain, "--", "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$")
        assert done.returncode == -number

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
    def test_a_signal_reaches_the_program(self, plain: Path, number: signal.Signals) -> None:
        code = (
            "import signal,sys\n"
            f"signal.signal({int(number)}, lambda *_: sys.exit(40 + {int(number)}))\n"
            "print('ready', flush=True)\n"
            "signal.pause()"
        )
        with start(PYTHON, "-c", code, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            assert process.wait(30) == 40 + number

    def test_no_parent_is_left_behind(self, plain: Path) -> None:
        code = "import os,sys;print(os.getpid(), os.getppid())"
        with start(PYTHON, "-c", code, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read().split() == [b"%d" % process.pid, b"%d" % os.getpid()]

    def test_no_child_is_left_behind(self, plain: Path) -> None:
        code = "import os\ntry:\n print(os.wait())\nexcept ChildProcessError:\n print('none')"
        assert gpudoctor("run", "--python", plain, "--", PYTHON, "-c", code).stdout == "none\n"

    def test_standard_input_passes_through_unread(self, plain: Path) -> None:
        content = bytes(range(256)) * 4096
        with start("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.communicate(content, timeout=60)[0] == content

    def test_the_end_of_a_pipe_is_noticed(self, plain: Path) -> None:
        """Python ignores SIGPIPE; a program that inherited that would write for ever, or report an error."""
        line = f"'{GPUDOCTOR}' run --python '{plain}' -- yes | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], env=clean_environment(), capture_output=True, timeout=60)
        assert done.stdout == b"y\n%d\n" % (128 + signal.SIGPIPE)
        assert done.stderr == b""

    def test_an_interrupt_from_the_terminal_ends_it_as_without_us(self, plain: Path) -> None:
        # A job in the background (`pytest … &`) ignores the signal, and what it starts inherits that.
        heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        with start("sleep", "60", start_new_session=True, **heeding) as process:
            _wait_for_exec(process.pid, b"sleep")
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) == -signal.SIGINT

    def test_open_files_working_directory_and_umask_stay(self, plain: Path, tmp_path: Path) -> None:
        with (tmp_path / "f").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            command = [GPUDOCTOR, "run", "--python", plain, "--", "bash", "-c", f"(pwd; umask) >&{file.fileno()}"]
            subprocess.run(
                command, env=clean_environment(), cwd=tmp_path, pass_fds=(file.fileno(),), umask=0o027, check=True
            )
        assert (tmp_path / "f").read_text() == f"{tmp_path}\n0027\n"

    def test_the_environment_is_the_same_to_the_byte(self, plain: Path) -> None:
        given = {"PATH": os.environ["PATH"], "A": "x\ny", "LD_LIBRARY_PATH": "/x::/y", "E": "", "B": "\udcff"}
        command = [GPUDOCTOR, "run", "--python", plain, "--", "env", "-0"]
        done = subprocess.run(command, env=given, capture_output=True, check=True)
        expected = {os.fsencode(f"{k}={v}") for k, v in given.items()}
        assert set(done.stdout.split(b"\0")) - {b""} == expected

    def test_an_unset_variable_stays_unset(self, plain: Path) -> None:
        assert (
            gpudoctor("run", "--python", plain, "--", "sh", "-c", "echo ${LD_LIBRARY_PATH-unset}").stdout == "unset\n"
        )


def _wait_for_exec(pid: int, name: bytes) -> None:
    limit = time.monotonic() + 30
    while Path(f"/proc/{pid}/comm").read_bytes().strip() != name and time.monotonic() < limit:
        time.sleep(0.01)


class TestRunArguments:
    def test_the_command_s_options_are_its_own(self, plain: Path) -> None:
        code = "import sys;print(sys.argv[1:])"
        words = ["--python", "x", "-h", "--help", "--", "--env", "A=b", "", "a b", "-"]
        done = gpudoctor("run", "--python", plain, "--", PYTHON, "-c", code, *words)
        assert done.stdout == f"{words!r}\n"

    def test_the_dashes_may_be_left_out(self, plain: Path) -> None:
        done = gpudoctor("run", "--python", plain, PYTHON, "-c", "import sys;print(sys.argv)", "--for", "x")
        assert done.stdout == "['-c', '--for', 'x']\n"

    def test_the_program_s_name_is_as_written(self, plain: Path) -> None:
        assert gpudoctor("run", "--python", plain, "--", "sh", "-c", "echo $0").stdout == "sh\n"

    @pytest.mark.parametrize("arguments", [["run"], ["run", "--"], ["run", "--bogus", "--", "true"]])
    def test_wrong_usage(self, arguments: list[str]) -> None:
        done = gpudoctor(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""

    @pytest.mark.parametrize("name", ["no-such-program-anywhere", "/no/such", "./no", ""])
    def test_127_not_found(self, plain: Path, name: str) -> None:
        done = gpudoctor("run", "--python", plain, "--", name)
        assert done.returncode == 127
        assert done.stderr.count("\n") == 1

    def test_127_although_a_folder_of_path_cannot_be_looked_into(self, plain: Path, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        done = gpudoctor(
            "run", "--python", plain, "--", "no-such-program", PATH=f"{tmp_path}/loop:{os.environ['PATH']}"
        )
        assert done.returncode == 127

    def test_127_a_script_whose_interpreter_is_not_there(self, plain: Path, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        done = gpudoctor("run", "--python", plain, "--", script)
        assert done.returncode == 127
        assert "interpreter" in done.stderr

    @pytest.mark.parametrize("kind", ["not executable", "a folder", "no format", "on PATH"])
    def test_126_not_executable(self, plain: Path, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "thing"
        if kind == "a folder":
            path.mkdir()
        else:
            path.write_bytes(b"\x00\x01garbage")
            path.chmod(0o755 if kind == "no format" else 0o644)
        name, more = (path.name, {"PATH": str(tmp_path)}) if kind == "on PATH" else (path, {})
        done = gpudoctor("run", "--python", plain, "--", name, **more)
        assert done.returncode == 126
        assert done.stderr.count("\n") == 1

    def test_the_first_that_may_be_executed_is_taken(self, plain: Path, tmp_path: Path) -> None:
        for folder, mode in (("a", 0o644), ("b", 0o755)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "tool").write_text(f"#!/bin/sh\necho {folder}\n")
            (tmp_path / folder / "tool").chmod(mode)
        search = f"{tmp_path}/a:{tmp_path}/b:/usr/bin:/bin"
        assert gpudoctor("run", "--python", plain, "--", "tool", PATH=search).stdout == "b\n"

    def test_variables_of_options_reach_the_program(self, plain: Path, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("FROM_FILE='a b'\n")
        options = ["--env", "GIVEN=x=y", "--env-file", str(tmp_path / "f")]
        done = gpudoctor("run", "--python", plain, *options, "--", "sh", "-c", 'echo "$GIVEN $FROM_FILE"')
        assert done.stdout == "x=y a b\n"

    def test_no_such_environment(self, tmp_path: Path) -> None:
        done = gpudoctor("run", "--python", tmp_path / "none", "--", "true")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


class TestRefusal:
    def test_nothing_is_run(self, broken: Path, tmp_path: Path) -> None:
        done = gpudoctor("run", "--python", broken, "--", "touch", tmp_path / "mark")
        assert done.returncode == 1
        assert not (tmp_path / "mark").exists()
        assert done.stderr.count("\n") == 1
        assert "ctranslate2 needs libcublas.so.12" in done.stderr

    def test_env_prints_nothing(self, broken: Path) -> None:
        done = gpudoctor("env", "--python", broken)
        assert (done.returncode, done.stdout) == (1, "")
        assert "libcublas.so.12" in done.stderr

    def test_the_way_out_can_be_typed_as_it_stands(self, broken: Path) -> None:
        """Without --python it would be gpudoctor's own environment that the command changes."""
        python = broken / "bin/python"
        target = f"gpudoctor fix --python {python} --for ctranslate2 --env 'A=b c' --packages --apply"
        options = ("--for", "ctranslate2", "--env", "A=b c")
        assert f"`{target}` can install it" in gpudoctor("env", "--python", python, *options).stderr
        # `run` takes the interpreter from the command where none is named.
        ran = gpudoctor("run", *options, "--", python, "-c", "print(1)")
        assert f"`{target}` can install it; {python} was not run" in ran.stderr

    def test_a_consumer_that_is_not_meant_does_not_count(self, broken: Path) -> None:
        assert gpudoctor("run", "--python", broken, "--for", "onnxruntime", "--", "true").returncode == 0

    def test_the_command_s_own_python_is_the_target(self, broken: Path) -> None:
        done = gpudoctor("run", "--", broken / "bin/python", "-c", "print(1)")
        assert (done.returncode, done.stdout) == (1, "")

    @pytest.mark.parametrize("style", ["#!{python}\n", "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"])
    def test_so_is_the_python_of_a_script(self, broken: Path, tmp_path: Path, style: str) -> None:
        script = tmp_path / "tool"
        script.write_text(style.format(python=broken / "bin/python") + "print('ran')\n")
        script.chmod(0o755)
        done = gpudoctor("run", "--", "tool", PATH=f"{tmp_path}:/usr/bin:/bin")
        assert (done.returncode, done.stdout) == (1, "")
        assert gpudoctor("run", "--python", PYTHON, "--", script).stdout == "ran\n"

    def test_for_an_unknown_consumer(self, plain: Path) -> None:
        for command in (["run", "--for", "nobody", "--", "true"], ["env", "--for", "nobody"]):
            done = gpudoctor(*command)
            assert done.returncode == 2
            assert "nobody" in done.stderr


class TestNativeProgram:
    @pytest.fixture
    def daemon(self, tmp_path: Path) -> Path:
        """Make a program that links cuBLAS from a build machine's folder; the library lies beside it."""
        compile_library(tmp_path / "build", tmp_path / "libcublas.so.12", "libcublas.so.12")
        (tmp_path / "main.c").write_text("int main(void) { return 7; }\n")
        command = ["gcc", "-Wl,--no-as-needed", tmp_path / "main.c", tmp_path / "libcublas.so.12", "-o"]
        subprocess.run([*command, tmp_path / "daemon", "-Wl,-rpath,/build/machine/lib"], check=True)
        return tmp_path / "daemon"

    def test_its_libraries_lie_beside_it(self, daemon: Path) -> None:
        assert subprocess.run([daemon], capture_output=True).returncode == 127
        assert gpudoctor("run", "--binary", daemon, "--", daemon).returncode == 7
        done = gpudoctor("env", "--binary", daemon, "--shell", "docker-env-file")
        assert done.stdout == f"LD_LIBRARY_PATH={daemon.parent}\n"

    def test_no_such_program(self, tmp_path: Path) -> None:
        assert gpudoctor("env", "--binary", tmp_path / "none").returncode == 2


class TestEnvWithNothingToSet:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh", "powershell", "dotenv", "docker", "systemd"])
    def test_nothing_but_a_word_on_standard_error(self, plain: Path, shell: str) -> None:
        done = gpudoctor("env", "--python", plain, "--shell", shell)
        assert (done.returncode, done.stdout) == (0, "")
        assert "nothing to set" in done.stderr

    def test_json_is_a_document_all_the_same(self, plain: Path) -> None:
        done = gpudoctor("env", "--python", plain, "--shell", "json")
        assert json.loads(done.stdout) == {"schema_version": 1, "variables": {}, "prepended": []}

    def test_a_shell_that_is_not_known(self, plain: Path) -> None:
        done = gpudoctor("env", "--python", plain, SHELL="/usr/bin/nu")
        assert done.returncode == 2
        assert "--shell" in done.stderr


def test_neither_loads_what_it_does_not_need(plain: Path) -> None:
    code = (
        "import sys\n"
        "from gpudoctor.cli.app import run\n"
        "import gpudoctor.system.execution as execution\n"
        "execution.become = lambda *_: print(sorted(m for m in ('rich', 'pydantic', 'yaml', 'pynvml', 'dataclasses')"
        " if m in sys.modules))\n"
        f"raise SystemExit(run(['run', '--python', {str(plain)!r}, '--', 'true']))\n"
    )
    done = subprocess.run([PYTHON, "-c", code], env=clean_environment(), capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr

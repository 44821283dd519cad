"""`gpudoctor pins`, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from packaging.requirements import Requirement

from support.command import gpudoctor

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "compat/schema/pins.json").read_text())
ASSUMED = ("--python-version", "3.11", "--platform", "linux-x86_64", "--assume-driver", "550.54.15")
RTX_3090 = (*ASSUMED, "--assume-gpu", "RTX 3090")


def pins(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return gpudoctor("pins", *arguments, **environment)


def test_a_set_with_its_commands_and_settings() -> None:
    done = pins("faster-whisper", *RTX_3090)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ctranslate2==4." in done.stdout
    assert "uv pip install faster-whisper==" in done.stdout
    assert "gpudoctor fix --apply" in done.stdout
    assert "nvidia/cublas/lib" in done.stdout


def test_the_document_is_of_its_schema() -> None:
    done = pins("faster-whisper", *RTX_3090, "--format", "json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["machine"] == {
        "python": "3.11",
        "platform": "linux-x86_64",
        "driver": "550.54.15",
        "gpus": ["NVIDIA GeForce RTX 3090"],
    }
    assert document["library_directories"] == ["nvidia/cublas/lib"]
    assert document["findings"] == []
    exact = {pin["package"] for pin in document["pins"] if pin["exact"]}
    assert {"faster-whisper", "ctranslate2", "nvidia-cublas-cu12"} <= exact


def test_no_set_is_status_1_and_says_why() -> None:
    done = pins("whisperx==3.4.2", *RTX_3090)
    assert done.returncode == 1
    assert "no set  whisperx==3.4.2 cannot be had:" in done.stdout
    assert "requires ctranslate2<4.5.0" in done.stdout
    document = json.loads(pins("whisperx==3.4.2", *RTX_3090, "--format", "json").stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["exit_status"] == 1
    assert document["pins"] == []


def test_nothing_known_of_the_machine_is_said_and_strict_insists() -> None:
    plain = pins("faster-whisper", "--python-version", "3.11")
    assert plain.returncode == 0
    assert plain.stdout.count("not judged") == 2
    assert pins("faster-whisper", "--python-version", "3.11", "--strict").returncode == 3


def test_requirements_are_read_by_installers() -> None:
    done = pins("faster-whisper", "torch", *ASSUMED, "--assume-gpu", "GTX 1080 Ti", "--as", "requirements")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert lines[0].startswith("--extra-index-url https://download.pytorch.org/whl/cu12")
    names = {Requirement(line).name for line in lines[1:]}
    assert {"faster-whisper", "torch", "ctranslate2"} <= names
    constraints = pins("faster-whisper", *RTX_3090, "--as", "constraints").stdout
    assert all(Requirement(line) for line in constraints.splitlines() if not line.startswith("#"))


def test_dockerfile_lines_pass_our_own_lint(tmp_path: Path) -> None:
    done = pins("faster-whisper", *RTX_3090, "--as", "dockerfile", "-o", str(tmp_path / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")
    text = (tmp_path / "Dockerfile").read_text()
    assert "FROM python:3.11-slim" in text
    assert "LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cublas/lib" in text
    judged = gpudoctor("lint", tmp_path / "Dockerfile", "--assume-driver", "550.54.15", "--assume-gpu", "RTX 3090")
    assert judged.returncode == 0, judged.stdout


def test_commands_quote_what_a_shell_would_read() -> None:
    done = pins("faster-whisper", *RTX_3090, "--as", "commands")
    told = subprocess.run(
        ["sh", "-c", f"uv() {{ printf '%s\\n' \"$@\"; }}; {done.stdout}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert told[:2] == ["pip", "install"]
    assert all(Requirement(word) for word in told[2:])


@pytest.mark.parametrize("name", ["Dockerfile", "link"])
def test_a_file_that_somebody_else_wrote_is_not_replaced(tmp_path: Path, name: str) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM mine\n")
    (tmp_path / "link").symlink_to(file)
    writing = ("silero-vad", *RTX_3090, "--as", "dockerfile", "-o", str(tmp_path / name))
    done = pins(*writing)
    assert (done.returncode, done.stdout, file.read_text()) == (2, "", "FROM mine\n")
    assert "--force replaces it" in done.stderr
    assert pins(*writing, "--force").returncode == 0
    assert file.read_text().startswith("# Chosen by gpudoctor pins")
    assert pins(*writing).returncode == 0  # its own file


def test_a_branch_is_a_driver_release() -> None:
    done = pins("faster-whisper", *ASSUMED[:4], "--assume-driver", "550", "--assume-gpu", "8.6")
    assert "driver 550, compute capability 8.6" in done.stdout


@pytest.mark.parametrize(("part", "said"), [("driver", "no driver known"), ("gpus", "no GPU known")])
@pytest.mark.parametrize("value", ["", "abc", "8.", "550.x"])
def test_what_a_snapshot_says_in_no_known_form_is_not_known(tmp_path: Path, part: str, said: str, value: str) -> None:
    taken = json.loads(gpudoctor("snapshot", *RTX_3090[4:]).stdout)
    held = taken["driver"]["release"] if part == "driver" else taken["gpus"]["value"][0]["compute_capability"]
    held["value"] = value
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(taken))
    done = pins("faster-whisper", "--snapshot", str(file), "--strict")
    assert (done.returncode, done.stderr) == (3, "")
    assert said in done.stdout


@pytest.mark.parametrize("style", ["dockerfile", "requirements", "constraints"])
def test_a_machine_of_a_strangers_snapshot_writes_no_line_of_its_own(tmp_path: Path, style: str) -> None:
    taken = json.loads(gpudoctor("snapshot", *RTX_3090[4:]).stdout)
    taken["gpus"]["value"][0]["name"]["value"] = "RTX 3090\nRUN evil\r\u2028RUN evil"
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(taken))
    done = pins("silero-vad", "--snapshot", str(file), "--as", style)
    assert done.returncode == 0, done.stderr
    comment, *lines = done.stdout.splitlines()
    assert comment.startswith("#")
    assert r"RTX 3090\x0aRUN evil" in comment
    assert not [line for line in lines if "evil" in line]


@pytest.mark.parametrize(
    "command", [("snapshot",), ("check", "--format", "json"), ("check",), ("lint", "--format", "json")]
)
def test_what_another_command_wrote_is_not_replaced(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "report"
    judged = (str(ROOT / ".github/examples/Dockerfile"),) if command[0] == "lint" else ASSUMED[4:]
    gpudoctor(*command, *judged, "-o", str(file))
    before = file.read_bytes()
    assert before
    assert pins("silero-vad", *RTX_3090, "-o", str(file)).returncode == 2
    assert file.read_bytes() == before


def test_two_gpus_without_a_name_are_two(tmp_path: Path) -> None:
    taken = json.loads(gpudoctor("snapshot", *ASSUMED[4:], "--assume-gpu", "8.6", "--assume-gpu", "12.0").stdout)
    for gpu in taken["gpus"]["value"]:
        gpu["name"] = {"state": "unknown", "reason": "refused"}
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(taken))
    document = json.loads(pins("silero-vad", "--snapshot", str(file), "--format", "json").stdout)
    assert document["machine"]["gpus"] == ["GPU", "GPU"]


@pytest.mark.parametrize("style", [("--format", "json"), ("--as", "requirements"), ()])
def test_what_pins_wrote_it_may_replace(tmp_path: Path, style: tuple[str, ...]) -> None:
    writing = ("silero-vad", *RTX_3090, *style, "-o", str(tmp_path / "out"))
    assert [pins(*writing).returncode for _ in range(2)] == [0, 0]
    assert pins("silero-vad", *RTX_3090, "-o", "/dev/null").returncode == 0


def test_without_uv_the_commands_are_pips(tmp_path: Path) -> None:
    """An installation of gpudoctor that has no uv beside it, and none on PATH."""
    site = next(p for p in sys.path if p.endswith("site-packages"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    command = [python, "-m", "gpudoctor", "pins", "silero-vad", *RTX_3090]
    environment = {"PATH": "/nowhere", "PYTHONPATH": f"{ROOT / 'src'}:{site}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "python -m pip install silero-vad==" in done.stdout
    assert "uv pip" not in done.stdout


def test_commands_name_the_environment_that_was_judged(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    assert f"--python {tmp_path / 'env'}" in pins("silero-vad", "--python", str(tmp_path / "env")).stdout
    assert f"--python {python}" in pins("silero-vad", VIRTUAL_ENV=str(tmp_path / "env")).stdout
    assert "--python" not in pins("silero-vad", *RTX_3090).stdout  # for a machine that is not this one


def test_the_environment_that_gpudoctor_itself_runs_in_is_doubted(tmp_path: Path) -> None:
    for style in ((), ("--as", "pip")):
        done = pins("silero-vad", *style, "--assume-gpu", "RTX 3090")
        assert done.returncode == 0
        assert f"gpudoctor itself runs in ({sys.prefix}), and nothing in it uses a GPU; was another" in done.stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    for chosen in (("--python", str(tmp_path / "env")), ("--python", sys.executable), RTX_3090):
        assert "itself runs in" not in pins("silero-vad", *chosen).stderr
    assert "itself runs in" not in pins("silero-vad", VIRTUAL_ENV=str(tmp_path / "env")).stderr


def test_pips_commands_start_a_pip_that_is_there(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "my env"], check=True)
    python = f"'{tmp_path}/my env/bin/python'"
    as_pip = ("silero-vad", "--python", str(tmp_path / "my env"), "--as", "pip")
    assert pins(*as_pip).stdout.startswith(f"{sys.executable} -m pip --python {python} install silero-vad==")
    info = next((tmp_path / "my env").glob("lib/python3*/site-packages")) / "pip-24.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pip\nVersion: 24.0\n")
    assert pins(*as_pip).stdout.startswith(f"{python} -m pip install silero-vad==")


@pytest.mark.parametrize("style", [("--format", "json"), ("--as", "requirements"), ()])
def test_a_file_that_was_written_is_named(tmp_path: Path, style: tuple[str, ...]) -> None:
    file = str(tmp_path / "out")
    assert pins("silero-vad", *RTX_3090, *style, "-o", file).stderr == f"gpudoctor: wrote {file}\n"
    assert pins("silero-vad", *RTX_3090, *style, "-o", "-").stderr == ""


def test_packages_that_share_their_files_have_a_way_of_two_steps() -> None:
    done = pins("onnxruntime-gpu", "faster-whisper", *RTX_3090)
    assert done.returncode == 1
    assert "no set  onnxruntime-gpu and faster-whisper cannot be had together:" in done.stdout
    first, last = (line.split() for line in done.stdout.splitlines() if "uv pip install" in line)
    (under,) = (word for word in first if word.startswith("onnxruntime=="))
    assert last[3:] == ["--no-deps", "--force-reinstall", under.replace("onnxruntime", "onnxruntime-gpu")]
    assert any(word.startswith("faster-whisper==") for word in first)
    assert not any(word.startswith("onnxruntime-gpu") for word in first)
    document = json.loads(pins("onnxruntime-gpu", "faster-whisper", *RTX_3090, "--format", "json").stdout)
    jsonschema.validate(document, SCHEMA)
    way = document["conflict"]["way"]
    assert (document["pins"], way["last"]["package"], way["over"]) == ([], "onnxruntime-gpu", "onnxruntime")
    assert "nvidia/cudnn/lib" in way["library_directories"]
    assert "onnxruntime-gpu can be installed last" in pins("onnxruntime-gpu", "faster-whisper", "--as", "uv").stderr


@pytest.mark.parametrize("wishes", [("whisperx==3.4.2",), ("onnxruntime-gpu", "whisperx==3.4.2")])
def test_where_nothing_works_no_way_is_named(wishes: tuple[str, ...]) -> None:
    document = json.loads(pins(*wishes, *RTX_3090, "--format", "json").stdout)
    assert document["conflict"]["way"] is None


@pytest.mark.parametrize(
    ("platform", "package", "said"),
    [
        ("linux-aarch64", "faster-whisper", ["ctranslate2 4.8.5 for linux-aarch64 is built without CUDA: it runs on"]),
        ("windows-x86_64", "faster-whisper", ["ctranslate2 4.8.5 needs cuBLAS", "put its folder on PATH"]),
        ("windows-x86_64", "onnxruntime-gpu", ["needs cuBLAS, cuDNN, cuFFT,", "put its folder on PATH"]),
        ("windows-x86_64", "torch", ["torch 2.15.0 for windows-x86_64 is built without CUDA"]),
        ("macos-arm64", "faster-whisper", ["there is no CUDA on macOS"]),
        ("linux-x86_64", "faster-whisper", []),
        ("linux-aarch64", "torch", []),
    ],
)
def test_what_another_platform_lacks_is_said(platform: str, package: str, said: list[str]) -> None:
    where = (package, "--python-version", "3.11", "--platform", platform)
    notes = json.loads(pins(*where, "--format", "json").stdout)["notes"]
    assert len(notes) == bool(said)
    text = " ".join(pins(*where).stdout.split())
    assert text.count(" note ") == bool(said)
    assert all(words in text for words in said)


def test_pip_commands_and_uv_commands_differ_in_the_installer_only() -> None:
    uv = pins("faster-whisper", *RTX_3090, "--as", "uv").stdout
    assert pins("faster-whisper", *RTX_3090, "--as", "pip").stdout == uv.replace(
        "uv pip install", "python -m pip install"
    )


def test_libraries_that_are_linked_without_a_path_are_named_too() -> None:
    done = pins("onnxruntime-gpu", *RTX_3090, "--format", "json")
    folders = json.loads(done.stdout)["library_directories"]
    assert {"nvidia/cublas/lib", "nvidia/cudnn/lib", "nvidia/cufft/lib"} <= set(folders)


@pytest.mark.parametrize("platform", ["linux-aarch64", "windows-x86_64", "macos-arm64"])
def test_another_platform_says_whose_releases_were_looked_at(platform: str) -> None:
    done = pins("silero-vad", "--python-version", "3.11", "--platform", platform)
    assert done.returncode == 0
    assert f"whether they have some for {platform}, and with code for which GPUs," in " ".join(done.stdout.split())


def test_a_build_that_is_known_from_reports_only_is_named() -> None:
    machine = ("--python-version", "3.12", "--assume-driver", "580.65.06", "--assume-gpu", "RTX 4090")
    done = pins("torch==2.15.0", "torchaudio", *machine)
    assert "nobody has read torch 2.15.0+cu130" in " ".join(done.stdout.split())


def test_a_jetson_is_told_that_its_builds_are_not_listed() -> None:
    orin = ("--python-version", "3.11", "--platform", "linux-aarch64", "--assume-gpu", "Jetson AGX Orin")
    assert "a Jetson runs only builds that NVIDIA makes for it" in pins("torch", *orin).stdout


def test_a_package_that_is_published_without_wheels() -> None:
    done = pins("openai-whisper", *RTX_3090)
    assert done.returncode == 0
    assert "openai-whisper==2025" in done.stdout
    assert "torch==" in done.stdout


def test_as_without_a_set_writes_nothing(tmp_path: Path) -> None:
    done = pins("whisperx==3.4.2", *RTX_3090, "--as", "requirements", "-o", str(tmp_path / "r.txt"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gpudoctor: no set: ")
    assert not (tmp_path / "r.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("numpi",), "numpi: the matrix knows no releases of it"),
        (("torch @ https://example.com/torch.whl",), "neither an address nor a marker"),
        (("torch; python_version > '3'",), "neither an address nor a marker"),
        (("torch", "Torch>=2"), "torch: named twice"),
        (("\x1b[31mtorch",), "expected a package"),
        (("torch", "--python-version", "three"), "expected a version such as 3.11"),
        (("torch", "--platform", "amiga"), "expected one of linux-x86_64"),
        (("torch", "--assume-gpu", "Voodoo 2"), "no such GPU"),
        (("torch", "--as", "commands", "--format", "json"), "cannot be given together"),
        ((), "Missing argument"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    done = pins(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


def test_keep_prefers_what_is_installed(tmp_path: Path) -> None:
    env = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    site = next((env / "lib").glob("python3*")) / "site-packages"
    info = site / "ctranslate2-4.7.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ctranslate2\nVersion: 4.7.0\n")
    (info / "RECORD").write_text("")
    own = (*RTX_3090, "--python-version", f"3.{sys.version_info.minor}")
    kept = json.loads(pins("faster-whisper", "--python", str(env), *own, "--keep", "--format", "json").stdout)
    chosen = {pin["package"]: pin for pin in kept["pins"]}
    assert (chosen["ctranslate2"]["version"], chosen["ctranslate2"]["kept"]) == ("4.7.0", True)
    other = (*RTX_3090, "--python-version", "3.12" if sys.version_info[1] == 11 else "3.11")
    for_another = json.loads(pins("faster-whisper", "--python", str(env), *other, "--keep", "--format", "json").stdout)
    assert not any(pin["kept"] for pin in for_another["pins"])
    newest = json.loads(pins("faster-whisper", "--python", str(env), *own, "--format", "json").stdout)
    assert {pin["package"]: pin for pin in newest["pins"]}["ctranslate2"]["version"] != "4.7.0"

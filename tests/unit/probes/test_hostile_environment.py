"""An environment made to hurt: every probe must end, with facts or Unknown, and run none of its code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.probes.builds import probe_builds
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.interpreter import find_target, probe_interpreter
from gpudoctor.probes.libraries import probe_libraries
from gpudoctor.probes.shared_files import probe_shared_files
from gpudoctor.probes.text import json_safe, shown
from gpudoctor.system.protocol import ReadSystem
from gpudoctor.system.real import RealSystem
from support.envtrees import dist_info, installation, venv, write

MATRIX = load_matrix()
LIBRARY = "nvidia/cudnn/lib/libcudnn_ops.so.9"


class NoChildren(RealSystem):
    """The real machine, on which starting a program is a failure of the test."""

    def start(self, argv, env, timeout_s):
        raise AssertionError(f"started {argv}")


def probe_all(folder: Path, system: ReadSystem | None = None) -> dict[str, object]:
    """Run every probe of an environment and return what it found, through JSON and back."""
    system = system or NoChildren()
    interpreter = probe_interpreter(system, find_target(system, os.fspath(folder)), {})
    distributions = probe_distributions(system, interpreter.site_dirs, interpreter.prefix)
    shared = probe_shared_files(system, distributions, MATRIX)
    parts = {
        "interpreter": interpreter,
        "distributions": distributions,
        "shared": shared,
        "builds": probe_builds(system, interpreter.site_dirs, distributions, shared),
        "libraries": probe_libraries(system, MATRIX, interpreter.site_dirs, distributions, prefix=interpreter.prefix),
    }
    return {k: json.loads(msgspec.json.encode(json_safe(v))) for k, v in parts.items()}


@pytest.fixture
def env(tmp_path: Path) -> Path:
    installation(tmp_path / "base")
    venv(tmp_path / "v", tmp_path / "base")
    return tmp_path / "v"


@pytest.fixture
def site(env: Path) -> Path:
    return env / "lib/python3.11/site-packages"


def names(found: dict[str, object]) -> list[str]:
    return [d["name"] for d in found["distributions"]]  # type: ignore[attr-defined, index]


def test_names_with_escapes_markup_newlines_and_invalid_utf8(env: Path, site: Path) -> None:
    for name in ("\x1b[31mred", "[bold]markup", "two\nlines", "\udcff\udcfe", "x" * 200):
        write(site / f"{name}-1.0.dist-info/METADATA", "")
        write(site / f"{name}.libs/libcudnn.so.9")
        write(site / f"{name}.pth", f"import \x1b]0;title\x07{name}\n")
    found = probe_all(env)
    assert len(names(found)) == 5
    assert "\\udcff\\udcfe" in names(found)
    assert len(found["libraries"]) == 5  # type: ignore[arg-type]
    doubts = found["interpreter"]["path_unknowns"]  # type: ignore[index]
    assert doubts
    assert not any(c in "".join(doubts) for c in "\x1b\n\x07")


def test_an_environment_at_a_path_that_is_no_utf8(tmp_path: Path) -> None:
    odd = tmp_path / "env\udcff\x1b[1m"
    installation(tmp_path / "base")
    folder = venv(odd, tmp_path / "base")
    dist_info(folder, "nvidia-cudnn-cu12", "9.1.0.70")
    write(folder / LIBRARY, b"x")
    found = probe_all(odd)
    assert names(found) == ["nvidia-cudnn-cu12"]
    (library,) = found["libraries"]  # type: ignore[misc]
    assert library["owner"] == "nvidia-cudnn-cu12"
    assert "\\udcff" in library["path"]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 << 30)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD_FILES = (make_fifo, make_directory, make_sparse, make_loop, make_device)


@pytest.mark.parametrize("make", ODD_FILES)
@pytest.mark.parametrize(
    "path",
    [
        LIBRARY,
        "torch/version.py",
        "torch/lib/libtorch_python.so",
        "torch/lib/libtorch_cuda.so",
        "ctranslate2.libs/libctranslate2-0123abcd.so.4.6.0",
        "onnxruntime/capi/libonnxruntime_providers_cuda.so",
        "onnxruntime/capi/build_and_package_info.py",
        "nvidia_cudnn_cu12-9.1.dist-info/RECORD",
        "nvidia_cudnn_cu12-9.1.dist-info/METADATA",
        "nvidia_cudnn_cu12-9.1.dist-info",
        "nvidia",
        "x.pth",
        "x.egg-link",
        "__editable___torch_finder.py",
        "direct_url.json",
    ],
)
def test_odd_files_in_every_place(env: Path, site: Path, path: str, make) -> None:
    for package in ("torch", "ctranslate2", "onnxruntime"):
        write(site / package / "__init__.py")
    for name in ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"):
        dist_info(site, name, "9.1", record=f"{LIBRARY},,1\n")
    write(site / "editable.pth", "import __editable___torch_finder; __editable___torch_finder.install()")
    target = site / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        target.rename(f"{target}.old")
    else:
        target.unlink(missing_ok=True)
    make(target)
    found = probe_all(env)
    assert {b["package"] for b in found["builds"]} >= {"ctranslate2", "onnxruntime"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", ODD_FILES)
def test_odd_pyvenv_cfg_is_a_doubt(env: Path, make) -> None:
    (env / "pyvenv.cfg").unlink()
    make(env / "pyvenv.cfg")
    found = probe_interpreter(NoChildren(), f"{env}/bin/python", {})
    assert found.prefix == f"{env.parent}/base"
    assert "pyvenv.cfg" in found.path_unknowns[0]


@pytest.mark.parametrize("make", ODD_FILES)
def test_odd_interpreter_program(env: Path, make) -> None:
    program = env.parent / "base/bin/python3.11"
    program.unlink()
    make(program)
    found = probe_interpreter(NoChildren(), f"{env}/bin/python", {})
    assert isinstance(found.elf_interpreter, Unknown)


@pytest.mark.parametrize(
    "config",
    [
        b"\x00\xff\xfe" * 100_000,
        b"home = " + b"x" * (10 << 20),
        b"=\n==\nhome\n",
        b"home = .\ninclude-system-site-packages = true\n",
        b"home = \xff\xfe\nversion = 99999999999999999999.1\n",
        b"home = /dev/zero\nversion_info = 3.11.4.final.0\n",
    ],
)
def test_hostile_pyvenv_cfg(env: Path, config: bytes) -> None:
    write(env / "pyvenv.cfg", config)
    probe_all(env)


def test_home_that_names_the_environment_itself(env: Path, site: Path) -> None:
    write(env / "pyvenv.cfg", f"home = {env}/bin\nversion = 3.11.4\ninclude-system-site-packages = true\n")
    found = probe_interpreter(NoChildren(), f"{env}/bin/python", {})
    assert found.site_dirs[0] == str(site)


def test_huge_pth(env: Path, site: Path) -> None:
    with (site / "huge.pth").open("wb") as file:
        file.write(b"a\n" * 50_000_000)
    write(site / "second.pth", "import hook\n" * 100_000)
    doubts = probe_interpreter(NoChildren(), f"{env}/bin/python", {}).path_unknowns
    assert any("huge.pth: too large" in d for d in doubts)
    assert len(doubts) <= 32


def test_loop_of_site_folders(env: Path, site: Path) -> None:
    (site / "again").symlink_to(site)
    write(site / "a.pth", "again\nagain/again/again\n.\n" + "../" * 2000 + "\n" + "again/" * 700 + "\n")
    found = probe_interpreter(NoChildren(), f"{env}/bin/python", {})
    assert str(site) in found.site_dirs
    assert len(found.site_dirs) <= 3


def test_site_packages_that_is_a_loop(env: Path, site: Path) -> None:
    site.rmdir()
    site.symlink_to("site-packages")
    found = probe_interpreter(NoChildren(), f"{env}/bin/python", {})
    assert found.site_dirs == ()
    assert found.path_unknowns


@pytest.mark.parametrize(
    "metadata",
    [b"", b"\0" * (5 << 20), b"\xff" * 1000, b"Name\nVersion\n", b"Version: \x1b[31m\n", b"Name: torch\r\r\r"],
)
def test_unparsable_metadata(env: Path, site: Path, metadata: bytes) -> None:
    write(site / "torch-2.5.dist-info/METADATA", metadata)
    found = probe_all(env)
    assert names(found) == ["torch"]
    assert found["distributions"][0]["version"]["state"] == "unknown"  # type: ignore[index]


def test_code_is_never_executed(env: Path, site: Path, tmp_path: Path) -> None:
    victim = write(tmp_path / "victim")
    bomb = f"import os; os.unlink({str(victim)!r}); raise SystemExit(1)\n__version__ = '6.6.6'\n"
    write(site / "bomb.pth", bomb)
    write(site / "sitecustomize.py", bomb)
    for file in (
        "torch/__init__",
        "torch/version",
        "ctranslate2/__init__",
        "ctranslate2/version",
        "onnxruntime/__init__",
    ):
        write(site / f"{file}.py", bomb)
    write(
        site / "onnxruntime/capi/build_and_package_info.py",
        f"package_name = open({str(victim)!r}, 'w').close()\n{bomb}",
    )
    write(site / "__editable___torch_finder.py", f"{bomb}MAPPING = {{'torch': os.unlink({str(victim)!r})}}\n")
    write(site / "e.pth", "import __editable___torch_finder; __editable___torch_finder.install()")
    found = probe_all(env)
    assert victim.exists()
    assert {b["package"]: b["version"] for b in found["builds"]}["torch"] == {  # type: ignore[attr-defined]
        "state": "present",
        "value": "6.6.6",
    }
    assert len(found["interpreter"]["path_unknowns"]) == 2  # type: ignore[index]


def test_unreadable_parts_as_an_unprivileged_user(tmp_path: Path) -> None:
    """As root nothing is unreadable: the probes run as another user in a child."""
    installation(tmp_path / "base")
    site = venv(tmp_path / "v", tmp_path / "base")
    dist_info(site, "torch", "2.5.1")
    dist_info(site, "nvidia-cudnn-cu12", "9.1.0.70")
    write(site / LIBRARY, b"x")
    write(site / "x.pth", "/tmp\n")
    write(site / "torch/__init__.py")
    write(site / "torch/version.py", "__version__ = '1'\n")
    (tmp_path / "closed/inner").mkdir(parents=True)
    write(site / "y.pth", f"{tmp_path}/closed/inner\n")
    closed = [site / "x.pth", site / "torch-2.5.1.dist-info/METADATA", site / "torch/version.py"]
    closed += [site / "nvidia/cudnn/lib", tmp_path / "closed"]
    for folder in tmp_path.parents:
        if folder != Path("/") and folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o1000:
            folder.chmod(folder.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    for path in closed:
        path.chmod(0)
    code = (
        "import os, sys, json, runpy\n"
        "from gpudoctor.probes.interpreter import probe_interpreter\n"
        "from gpudoctor.probes.distributions import probe_distributions\n"
        "from gpudoctor.probes.builds import probe_builds\n"
        "from gpudoctor.system.real import RealSystem\n"
        "import msgspec\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "assert os.geteuid() != 0\n"
        "s = RealSystem(); i = probe_interpreter(s, sys.argv[1], {})\n"
        "d = probe_distributions(s, i.site_dirs, i.prefix); b = probe_builds(s, i.site_dirs, d)\n"
        "print(msgspec.json.encode([i.path_unknowns, d, b]).decode())\n"
    )
    try:
        argv = [sys.executable, "-c", code, f"{tmp_path}/v/bin/python"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    finally:
        for path in closed:
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    doubts, distributions, builds = json.loads(done.stdout)
    assert any("x.pth" in d and "Permission denied" in d for d in doubts)
    assert any("closed/inner" in d for d in doubts)
    versions = {d["name"]: d["version"]["state"] for d in distributions}
    assert versions == {"torch": "unknown", "nvidia-cudnn-cu12": "present"}
    assert "Permission denied" in builds[0]["gpu"]["reason"]


def test_json_safe_returns_the_same_object_when_nothing_needs_it() -> None:
    value = (Present("é"), Unknown("x"), 3, None)
    assert json_safe(value) is value
    assert json_safe((Present("a\udc80"),)) == (Present("a\\udc80"),)


def test_shown() -> None:
    assert shown("a\x1b[31m\n\u202eb\udcff") == "a\\x1b[31m\\n\\u202eb\\udcff"
    assert len(shown("x" * 1000)) == 400

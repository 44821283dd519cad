from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from gpudoctor.model.environment import Interpreter
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.probes.interpreter import probe_interpreter
from gpudoctor.system.real import RealSystem
from support.envtrees import OtherSystem, dist_info, installation, venv, write

UV = Path(sys.executable).with_name("uv")
HOME = {"HOME": "/nowhere"}


def probe(executable: Path | str, environment: dict[str, str] | None = None) -> Interpreter:
    return probe_interpreter(RealSystem(), str(executable), environment if environment is not None else HOME)


def truth(executable: Path | str, environment: dict[str, str] | None = None) -> dict[str, object]:
    """Ask the interpreter itself: what the probe must find out without it."""
    code = (
        "import json, os, sys, site\n"
        "dirs = [p for p in sys.path if os.path.isdir(p) and p.endswith(('-packages', 'project', 'extra'))]\n"
        "print(json.dumps([sys.prefix, sys.base_prefix, '%d.%d.%d' % sys.version_info[:3], dirs]))"
    )
    env = {**HOME, **(environment or {})}
    done = subprocess.run([str(executable), "-c", code], cwd="/", env=env, capture_output=True, text=True, check=True)
    return dict(zip(("prefix", "base_prefix", "version", "dirs"), json.loads(done.stdout), strict=True))


def assert_true(executable: Path | str, environment: dict[str, str] | None = None) -> Interpreter:
    found, real = probe(executable, {**HOME, **(environment or {})}), truth(executable, environment)
    assert found.prefix == real["prefix"]
    assert found.base_prefix == real["base_prefix"]
    assert isinstance(found.version, Present)
    assert str(real["version"]).startswith(found.version.value)
    assert list(found.site_dirs) == real["dirs"]
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plain") / "v"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True)
    return root


def test_venv(plain: Path) -> None:
    found = assert_true(plain / "bin/python")
    assert found.kind == "venv"
    assert found.path_unknowns == ()
    assert found.secure_execution == Present(value=False)


def test_venv_with_system_site_packages(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", tmp_path / "v"], check=True
    )
    user = tmp_path / f"home/.local/lib/python3.{sys.version_info[1]}/site-packages"
    user.mkdir(parents=True)
    found = assert_true(tmp_path / "v/bin/python", {"HOME": str(tmp_path / "home")})
    assert str(user) in found.site_dirs
    assert len(found.site_dirs) >= 3
    without = assert_true(tmp_path / "v/bin/python", {"HOME": str(tmp_path / "home"), "PYTHONNOUSERSITE": "1"})
    assert str(user) not in without.site_dirs


def test_uv_venv(tmp_path: Path) -> None:
    argv = [str(UV), "venv", "-q", "--offline", "--no-config", "--python", sys.executable, str(tmp_path / "v")]
    subprocess.run(argv, check=True)
    found = assert_true(tmp_path / "v/bin/python")
    assert found.kind == "venv"


def test_uv_overlay_as_uv_run_with_makes_it(plain: Path, tmp_path: Path) -> None:
    """`uv run --with` from a local project, so that no index is asked; a child inspects its own environment."""
    write(tmp_path / "extra-0.1/pyproject.toml", '[project]\nname = "extra"\nversion = "0.1"\n')
    wheel = tmp_path / "extra-0.1-py3-none-any.whl"
    make_wheel(wheel)
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); sys.path.append(sys.argv[2])\n"
        "from gpudoctor.probes.interpreter import probe_interpreter\n"
        "from gpudoctor.system.real import RealSystem\n"
        "found = probe_interpreter(RealSystem(), sys.executable, {'HOME': '/nowhere'})\n"
        "real = [p for p in sys.path[1:-1] if p.endswith('site-packages')]\n"
        "print(json.dumps([found.kind, found.site_dirs, real, found.path_unknowns]))"
    )
    import msgspec

    import gpudoctor

    ours = [str(Path(m.__file__).parents[1]) for m in (gpudoctor, msgspec)]
    argv = [str(UV), "run", "-q", "--offline", "--no-config", "--no-project", "--with", str(wheel)]
    argv += ["--python", str(plain / "bin/python"), "python", "-c", code, *ours]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path)
    kind, dirs, real, unknowns = json.loads(done.stdout)
    assert kind == "uv-overlay"
    assert dirs == real
    assert len(dirs) == 3
    assert unknowns == []


def make_wheel(path: Path) -> None:
    import zipfile

    info = "extra-0.1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("extra.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: extra\nVersion: 0.1\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"extra.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def test_pythonpath_pth_and_hidden_pth(plain: Path, tmp_path: Path) -> None:
    site = next((plain / "lib").glob("python3.*")) / "site-packages"
    (tmp_path / "project").mkdir()
    (tmp_path / "extra").mkdir()
    write(site / "a.pth", f"# comment\n\n{tmp_path}/project\n{tmp_path}/missing\n{tmp_path}/project\n")
    write(site / ".hidden.pth", f"{tmp_path}/hidden-project\n")
    try:
        found = assert_true(plain / "bin/python", {"PYTHONPATH": f"{tmp_path}/extra:{tmp_path}/missing"})
    finally:
        (site / "a.pth").unlink()
        (site / ".hidden.pth").unlink()
    assert found.site_dirs == (f"{tmp_path}/extra", str(site), f"{tmp_path}/project")


def test_debian_python_of_this_machine() -> None:
    if not Path("/usr/lib/python3/dist-packages").is_dir() or not Path("/usr/bin/python3").exists():
        pytest.skip("no Debian python here")
    found = assert_true("/usr/bin/python3")
    assert found.kind == "system"
    assert "/usr/lib/python3/dist-packages" in found.site_dirs


def test_debian_layout(tmp_path: Path) -> None:
    root = tmp_path / "usr"
    installation(root)
    for folder in ("local/lib/python3.11/dist-packages", "lib/python3/dist-packages"):
        (root / folder).mkdir(parents=True)
    found = probe(root / "bin/python3")
    assert found.site_dirs == (f"{root}/local/lib/python3.11/dist-packages", f"{root}/lib/python3/dist-packages")
    assert found.version == Present("3.11")
    site = venv(tmp_path / "v", root, config="include-system-site-packages = true\n")
    through = probe(tmp_path / "v/bin/python")
    assert through.site_dirs == (str(site), f"{root}/lib/python3.11/site-packages", *found.site_dirs)


def test_system_site_packages_is_the_default_when_the_key_is_missing(tmp_path: Path) -> None:
    base = installation(tmp_path / "base")
    site = venv(tmp_path / "v", tmp_path / "base", config="")
    assert probe(tmp_path / "v/bin/python").site_dirs == (str(site), str(base))


def test_conda_layout(tmp_path: Path) -> None:
    site = installation(tmp_path / "c")
    write(tmp_path / "c/conda-meta/history")
    write(tmp_path / "c/conda-meta/python-3.11.9-h955ad1f_0.json", "{}")
    found = probe(tmp_path / "c/bin/python")
    assert found.kind == "conda"
    assert found.prefix == found.base_prefix == str(tmp_path / "c")
    assert found.version == Present("3.11.9")
    assert found.site_dirs == (str(site),)


def test_virtualenv_and_overlay_keys(tmp_path: Path) -> None:
    installation(tmp_path / "base")
    venv(tmp_path / "a", tmp_path / "base", config="virtualenv = 20.1\ninclude-system-site-packages = false\n")
    venv(tmp_path / "b", tmp_path / "base", config="extends-environment = /x\nInclude-System-Site-Packages = false\n")
    assert probe(tmp_path / "a/bin/python").kind == "virtualenv"
    assert probe(tmp_path / "b/bin/python").kind == "uv-overlay"


def test_lib64_of_fedora_but_not_the_link_of_a_venv(tmp_path: Path) -> None:
    base = tmp_path / "base"
    installation(base)
    (base / "lib").rename(base / "lib64")
    (base / "lib/python3.11/site-packages").mkdir(parents=True)
    assert probe(base / "bin/python").site_dirs == tuple(
        f"{base}/{lib}/python3.11/site-packages" for lib in ("lib64", "lib")
    )
    installation(tmp_path / "other")
    site = venv(tmp_path / "v", tmp_path / "other")
    (tmp_path / "v/lib64").symlink_to("lib")
    assert probe(tmp_path / "v/bin/python").site_dirs == (str(site),)


def test_windows_layout(tmp_path: Path) -> None:
    write(tmp_path / "base/python.exe", b"MZ")
    write(tmp_path / "base/Lib/os.py")
    write(tmp_path / "v/Scripts/python.exe", b"MZ")
    write(
        tmp_path / "v/pyvenv.cfg",
        f"home = {tmp_path}\\base\nversion_info = 3.12.1.final.0\ninclude-system-site-packages = false\n",
    )
    (tmp_path / "v/Lib/site-packages").mkdir(parents=True)
    found = probe_interpreter(OtherSystem(os_name="windows"), f"{tmp_path}/v/Scripts/python.exe", {})
    assert found.site_dirs == (f"{tmp_path}/v", f"{tmp_path}/v/Lib/site-packages")
    assert found.base_prefix == f"{tmp_path}/base"
    assert found.version == Present("3.12.1")
    assert found.elf_interpreter == Absent()


def test_windows_embedded_python(tmp_path: Path) -> None:
    write(tmp_path / "python.exe", b"MZ")
    write(tmp_path / "python312.dll", b"MZ")
    write(tmp_path / "python312._pth", "python312.zip\n.\n..\\ComfyUI\nimport site\n")
    (tmp_path / "Lib/site-packages").mkdir(parents=True)
    found = probe_interpreter(OtherSystem(os_name="windows"), f"{tmp_path}/python.exe", {})
    assert found.site_dirs == (str(tmp_path), f"{tmp_path}/Lib/site-packages")


def test_a_link_from_outside_does_not_enter_the_venv(tmp_path: Path, plain: Path) -> None:
    (tmp_path / "py").symlink_to(plain / "bin/python")
    assert_true(tmp_path / "py")


def test_setgid_and_static_interpreter(tmp_path: Path) -> None:
    installation(tmp_path)
    (tmp_path / "bin/python3.11").chmod(0o2755)
    assert probe(tmp_path / "bin/python").secure_execution == Present(value=True)
    write(tmp_path / "bin/python3.11", b"not elf")
    assert isinstance(probe(tmp_path / "bin/python").elf_interpreter, Unknown)


def test_file_capabilities_on_the_real_program(tmp_path: Path) -> None:
    installation(tmp_path)
    bind_low_ports = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    try:
        os.setxattr(tmp_path / "bin/python3.11", "security.capability", bind_low_ports)
    except OSError as error:
        pytest.skip(f"file capabilities cannot be set here: {error}")
    assert probe(tmp_path / "bin/python").secure_execution == Present(value=True)


def test_pythonhome_is_a_doubt(tmp_path: Path) -> None:
    site = installation(tmp_path)
    dist_info(site, "six", "1.0")
    assert "PYTHONHOME" in probe(tmp_path / "bin/python", {"PYTHONHOME": "/x"}).path_unknowns[0]


def test_home_from_the_password_file_when_unset() -> None:
    # Switched on, found without HOME: it may not exist, but must not raise or be guessed from nothing.
    assert probe(sys.executable, {}).site_dirs


def test_the_program_goes_before_a_stale_pyvenv_cfg(tmp_path: Path) -> None:
    installation(tmp_path / "base", "3.12")
    site = venv(tmp_path / "v", tmp_path / "base", "3.12")
    write(
        tmp_path / "v/pyvenv.cfg",
        f"home = {tmp_path}/base/bin\nversion = 3.10.4\ninclude-system-site-packages = false\n",
    )
    found = probe(tmp_path / "v/bin/python")
    assert (found.version, found.site_dirs) == (Present("3.12"), (str(site),))

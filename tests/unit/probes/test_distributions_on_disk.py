from __future__ import annotations

import json
from pathlib import Path

from gpudoctor.model.fact import Present, Unknown
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.system.protocol import ReadSystem
from gpudoctor.system.real import RealSystem
from support.envtrees import dist_info, write


def probe(*dirs: Path, prefix: Path | None = None, system: ReadSystem | None = None):
    found = probe_distributions(system or RealSystem(), tuple(map(str, dirs)), str(prefix) if prefix else None)
    return {d.name: d for d in reversed(found)}


class Counting(RealSystem):
    """The real machine, counting how often a file is opened."""

    opened = 0

    def open(self, path: str):
        self.opened += 1
        return super().open(path)


def test_names_and_versions_from_folder_names_without_opening_a_file(tmp_path: Path) -> None:
    for i in range(300):
        dist_info(tmp_path, f"Package.{i}", f"1.{i}")
    system = Counting()
    found = probe(tmp_path, system=system)
    assert len(found) == 300
    assert found["package-7"].version == Present("1.7")
    assert system.opened == 0


def test_pins_of_gpu_packages(tmp_path: Path) -> None:
    pin = 'nvidia-cudnn-cu12 (==9.1.0.70) ; platform_system == "Linux"'
    dist_info(tmp_path, "torch", "2.5.1", ("filelock", pin, "nvidia-cublas-cu12==12.4"))
    torch = probe(tmp_path)["torch"]
    assert torch.requires == (pin, "nvidia-cublas-cu12==12.4")
    assert torch.version == Present("2.5.1")


def test_metadata_wins_over_the_folder_name(tmp_path: Path) -> None:
    folder = dist_info(tmp_path, "torch", "2.5.1")
    write(folder / "METADATA", "Name: torch\nVersion: 2.5.1+cu124\n\n")
    assert probe(tmp_path)["torch"].version == Present("2.5.1+cu124")


def test_egg_info_in_all_forms(tmp_path: Path) -> None:
    write(tmp_path / "PyYAML-6.0.egg-info/PKG-INFO", "Name: PyYAML\nVersion: 6.0\n")
    write(tmp_path / "crcmod-1.7-py3.11.egg-info", "Name: crcmod\nVersion: 1.7\n")
    write(tmp_path / "cryptography.egg-info/PKG-INFO", "Name: cryptography\nVersion: 38.0.4\n")
    write(tmp_path / "dash-in-name-1.0.egg-info", "Name: dash-in-name\nVersion: 1.0\n")
    found = probe(tmp_path)
    assert {n: d.version for n, d in found.items()} == {
        "pyyaml": Present("6.0"),
        "crcmod": Present("1.7"),
        "cryptography": Present("38.0.4"),
        "dash-in-name": Present("1.0"),
    }


def test_unpacked_egg_and_egg_link(tmp_path: Path) -> None:
    egg = tmp_path / "tool-2.0-py3.11.egg"
    write(egg / "EGG-INFO/PKG-INFO", "Name: tool\nVersion: 2.0\n")
    write(tmp_path / "project/my_app.egg-info/PKG-INFO", "Name: my-app\nVersion: 0.1\n")
    write(tmp_path / "my-app.egg-link", f"{tmp_path}/project\n.\n")
    found = probe(tmp_path, egg)
    assert found["tool"].version == Present("2.0")
    assert found["my-app"].editable == f"{tmp_path}/project"


def test_editable(tmp_path: Path) -> None:
    direct = {"url": "file:///home/a%20b/%C3%A9%ff/app", "dir_info": {"editable": True}}
    write(dist_info(tmp_path, "my-app", "1.0") / "direct_url.json", json.dumps(direct))
    write(tmp_path / "__editable__.my_app-1.0.pth", "/home/a b/app\n")
    write(dist_info(tmp_path, "torch", "1.0") / "direct_url.json", "{broken")
    found = probe(tmp_path)
    assert found["my-app"].editable == "/home/a b/é\udcff/app"
    assert found["torch"].editable is None


def test_all_of_a_name_are_kept_in_path_order(tmp_path: Path) -> None:
    dist_info(tmp_path / "a", "torch", "2.0")
    dist_info(tmp_path / "b", "torch", "1.0")
    found = probe_distributions(RealSystem(), (f"{tmp_path}/a", f"{tmp_path}/b"))
    assert [d.version for d in found] == [Present("2.0"), Present("1.0")]


def test_conda_native_packages(tmp_path: Path) -> None:
    for name in ("cudnn-9.1.1.17-h_0", "cuda-cudart-12.4.127-0", "libcublas-12.4.5.8-he_1", "python-3.11.9-h9_0"):
        write(tmp_path / f"conda-meta/{name}.json", "{}")
    found = probe(prefix=tmp_path)
    assert sorted(found) == ["cuda-cudart", "cudnn", "libcublas"]
    assert found["cudnn"].version == Present("9.1.1.17")


def test_metadata_that_cannot_be_used(tmp_path: Path) -> None:
    write(tmp_path / "torch-2.0.dist-info/METADATA", b"\xff\xfe\0\0garbage" * 1000)
    (tmp_path / "torchaudio-2.0.dist-info/METADATA").mkdir(parents=True)
    (tmp_path / "torchvision-2.0.dist-info").mkdir()
    write(tmp_path / "~orch-1.9.dist-info/METADATA", "Name: torch\n")
    found = probe(tmp_path)
    assert sorted(found) == ["torch", "torchaudio", "torchvision"]
    assert all(isinstance(d.version, Unknown) for d in found.values())
    assert "not a regular file" in found["torchaudio"].version.reason

from __future__ import annotations

import platform
import re

import pytest

from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.machine import Libc
from gpudoctor.probes.host import probe_host, probe_libc
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.real import RealSystem

OSRELEASE = "/proc/sys/kernel/osrelease"
GLIBC = b"\x7fELF....ld.so (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\nCopyright"


def test_this_machine() -> None:
    host = probe_host(RealSystem())

    assert host.os == "linux"
    assert host.machine == platform.machine()
    assert host.kernel == Present(platform.release())
    name, version = platform.libc_ver()
    if name == "glibc":
        assert host.libc == Present(Libc(name="glibc", version=Present(version)))


def test_a_bare_machine_is_unknown_or_absent_never_wrong() -> None:
    host = probe_host(MemorySystem())

    assert isinstance(host.kernel, Unknown)
    assert isinstance(host.distribution, Absent)
    assert isinstance(host.libc, Absent)
    assert isinstance(host.container, Absent)
    assert isinstance(host.wsl, Unknown), "without a kernel release nobody can tell"
    assert isinstance(host.tegra, Absent)
    assert isinstance(host.nvidia_pci, Unknown), "without /sys nobody can look"
    assert isinstance(host.device_nodes, Unknown)
    assert host.effective_uid == Present(0)


@pytest.mark.parametrize("os_name", ["windows", "macos"])
def test_another_system_is_unknown(os_name: str) -> None:
    host = probe_host(MemorySystem(os_name=os_name, machine="arm64", uid=None))  # type: ignore[arg-type]

    assert (host.os, host.machine) == (os_name, "arm64")
    assert isinstance(host.nvidia_pci, Unknown)
    assert isinstance(host.effective_uid, Unknown)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('PRETTY_NAME="Ubuntu 24.04.1 LTS"\nNAME="Ubuntu"\n', Present("Ubuntu 24.04.1 LTS")),
        ("NAME='Arch Linux'\n# PRETTY_NAME=no\n", Present("Arch Linux")),
        ("NAME=Fedora\nVERSION_ID=41\n", Present("Fedora 41")),
    ],
)
def test_the_distribution(text: str, name: Present[str]) -> None:
    assert probe_host(MemorySystem({"/usr/lib/os-release": text})).distribution == name


def test_a_distribution_that_cannot_be_read() -> None:
    assert isinstance(probe_host(MemorySystem({"/etc/os-release": "\x00\xff garbage"})).distribution, Unknown)
    assert isinstance(probe_host(MemorySystem(fifos=["/etc/os-release"])).distribution, Unknown)


# --- libc ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "links", "version"),
    [
        ({"/usr/lib/ld-linux-x86-64.so.2": GLIBC}, {"/lib64": "usr/lib"}, Present("2.36")),
        ({"/lib64/ld-2.31.so": b"ELF"}, {"/lib64/ld-linux-x86-64.so.2": "ld-2.31.so"}, Present("2.31")),
        (
            {"/lib64/ld-linux-x86-64.so.2": b"ELF", "/lib64/libc-2.28.so": b"ELF"},
            {"/lib64/libc.so.6": "libc-2.28.so"},
            Present("2.28"),
        ),
        (
            {
                "/lib64/ld-linux-x86-64.so.2": b"ELF",
                "/lib64/libc.so.6": b"GNU C Library (GNU libc) stable release version 2.32.\n",
            },
            {},
            Present("2.32"),
        ),
        ({"/lib64/ld-linux-x86-64.so.2": b"ELF"}, {}, None),
    ],
)
def test_the_glibc_behind_a_loader(
    files: dict[str, bytes | str], links: dict[str, str], version: Present[str] | None
) -> None:
    libc = probe_libc(MemorySystem(files, links=links), "/lib64/ld-linux-x86-64.so.2")

    assert isinstance(libc, Present)
    assert libc.value.name == "glibc"
    assert libc.value.version == version or (version is None and isinstance(libc.value.version, Unknown))


def test_musl_is_told_apart() -> None:
    system = MemorySystem({"/lib/ld-musl-x86_64.so.1": b"ELF"})

    for loader in ("/lib/ld-musl-x86_64.so.1", None):
        libc = probe_libc(system, loader)
        assert isinstance(libc, Present)
        assert libc.value.name == "musl"


def test_a_loader_nobody_knows() -> None:
    assert isinstance(probe_libc(MemorySystem(), "/system/bin/linker64"), Unknown)


# --- containers and boards -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "environ", "kind"),
    [
        ({"/.dockerenv": ""}, {}, "docker"),
        ({"/run/.containerenv": "", "/.dockerenv": ""}, {}, "podman"),
        ({"/.dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({}, {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer"),
        ({"/run/systemd/container": "lxc\n"}, {}, "lxc"),
        ({"/run/systemd/container": "systemd-nspawn"}, {}, "systemd-nspawn"),
        ({}, {"container": "oci"}, "oci"),
        ({"/proc/1/cgroup": "12:cpu:/kubepods/besteffort/pod1\n"}, {}, "kubernetes"),
        ({"/proc/1/cgroup": "12:cpu:/docker/abc\n"}, {}, "docker"),
        ({"/proc/1/cgroup": "0::/\n", "/run/systemd/container": "wsl\n"}, {}, None),
        ({"/proc/1/cgroup": "0::/init.scope\n"}, {"container": ""}, None),
    ],
)
def test_containers(files: dict[str, bytes | str], environ: dict[str, str], kind: str | None) -> None:
    container = probe_host(MemorySystem(files, environ=environ)).container

    assert container == Present(kind) or (kind is None and isinstance(container, Absent))


def test_a_container_that_nobody_can_tell() -> None:
    system = MemorySystem({"/proc/1/cgroup": "x"}, unreadable=["/proc/1/cgroup"])

    assert isinstance(probe_host(system).container, Unknown)


@pytest.mark.parametrize("folder", ["/run/systemd", "/run"])
def test_a_sign_that_cannot_be_looked_for_is_no_container(folder: str) -> None:
    files = {"/run/systemd/x": "", "/proc/1/cgroup": "0::/init.scope\n"}
    hidden = MemorySystem(files, unreadable=[folder])

    assert isinstance(probe_host(hidden).container, Unknown)
    # What can be seen tells all the same.
    seen = MemorySystem({**files, "/proc/1/cgroup": "12:cpu:/docker/abc\n"}, unreadable=[folder])
    assert probe_host(seen).container == Present("docker")


@pytest.mark.parametrize(
    ("release", "files", "generation"),
    [
        ("5.15.153.1-microsoft-standard-WSL2", {"/dev/dxg": ""}, "2"),
        ("5.15.153.1-microsoft-standard-WSL2", {}, "2"),
        ("4.4.0-19041-Microsoft", {}, "1"),
        ("6.8.0-45-generic", {}, None),
    ],
)
def test_wsl(release: str, files: dict[str, bytes | str], generation: str | None) -> None:
    wsl = probe_host(MemorySystem({OSRELEASE: f"{release}\n", **files})).wsl

    assert wsl == Present(generation) or (generation is None and isinstance(wsl, Absent))


def test_a_jetson() -> None:
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8\n"

    assert probe_host(MemorySystem({"/etc/nv_tegra_release": release})).tegra == Present("36.4.3")
    assert isinstance(probe_host(MemorySystem({"/etc/nv_tegra_release": "?"})).tegra, Unknown)


def test_a_container_on_a_jetson() -> None:
    board = "nvidia,p3768-0000+p3767-0000\0nvidia,tegra234\0"

    assert isinstance(probe_host(MemorySystem({"/proc/device-tree/compatible": board})).tegra, Unknown)


# --- devices ---------------------------------------------------------------------------------------------------------


def pci(*devices: tuple[str, str, str]) -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for address, vendor, kind in devices:
        files[f"/sys/bus/pci/devices/{address}/vendor"] = f"{vendor}\n"
        files[f"/sys/bus/pci/devices/{address}/class"] = f"{kind}\n"
    return files


def test_nvidia_display_devices_on_the_bus() -> None:
    system = MemorySystem(
        pci(
            ("0000:00:02.0", "0x8086", "0x030000"),  # Intel graphics
            ("0000:01:00.0", "0x10de", "0x030000"),  # a graphics card
            ("0000:01:00.1", "0x10de", "0x040300"),  # its sound
            ("0000:65:00.0", "0x10DE", "0x030200"),  # an accelerator without outputs
            ("0000:66:00.0", "0x10de", "0x068000"),  # an NVSwitch
        )
    )

    assert probe_host(system).nvidia_pci == Present(("0000:01:00.0", "0000:65:00.0"))


@pytest.mark.parametrize(
    "system",
    [MemorySystem(pci(("0000:00:02.0", "0x8086", "0x030000"))), MemorySystem(directories=["/sys/bus/usb"])],
)
def test_no_nvidia_device_on_the_bus(system: MemorySystem) -> None:
    assert isinstance(probe_host(system).nvidia_pci, Absent)


def test_a_device_that_is_unplugged_meanwhile_is_none() -> None:
    assert isinstance(probe_host(MemorySystem(directories=["/sys/bus/pci/devices/x"])).nvidia_pci, Absent)


@pytest.mark.parametrize("unreadable", ["/sys/bus/pci/devices", "/sys/bus/pci/devices/0000:01:00.0/class"])
def test_a_bus_that_cannot_be_read(unreadable: str) -> None:
    system = MemorySystem(pci(("0000:01:00.0", "0x10de", "0x030000")), unreadable=[unreadable])

    assert isinstance(probe_host(system).nvidia_pci, Unknown)


def test_device_nodes() -> None:
    names = ("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "dxg")
    others = ("null", "nvidiafoo", "nvme0", "nvidia-caps/nvidia-cap1")
    system = MemorySystem({f"/dev/{name}": "" for name in (*names, *others)})

    assert probe_host(system).device_nodes == Present(tuple(sorted(f"/dev/{name}" for name in names)))
    assert isinstance(probe_host(MemorySystem({"/dev/null": ""})).device_nodes, Absent)


def test_the_usual_loader_is_found_here() -> None:
    libc = probe_libc(RealSystem())

    assert isinstance(libc, Present)
    assert libc.value.name in ("glibc", "musl")
    if isinstance(libc.value.version, Present):
        assert re.fullmatch(r"\d+\.\d+", libc.value.version.value)

"""Probe: the machine as the target's processes see it."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.machine import Host, Libc
from gpudoctor.probes.container_engine import probe_container_engine
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, read_text

_SMALL_BYTES = 64 << 10
_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"
_DEVICE_NODE = re.compile(r"nvidia(?:ctl|\d+|-uvm|-uvm-tools|-modeset|-nvswitch(?:ctl|\d+))|dxg|nvmap|nvgpu|nvhost-gpu")
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-linux-armhf.so.3")
_GLIBC_BANNER = re.compile(rb"(?:stable|development) release version (\d+\.\d+)")
_GLIBC_NAME = re.compile(r"(?:ld|libc)-(\d+\.\d+)(?:\.\d+)?\.so$")
_CGROUP_KINDS = (
    ("kubepods", "kubernetes"),
    ("libpod", "podman"),
    ("docker", "docker"),
    ("containerd", "containerd"),
    ("lxc", "lxc"),
)
_L4T = re.compile(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")


def probe_host(system: ReadSystem, elf_interpreter: str | None = None) -> Host:
    """Describe the machine.

    Args:
        system: The machine.
        elf_interpreter: PT_INTERP of the target's executable, which says what libc it runs on; None asks the usual
            places.
    """
    if system.os_name != "linux":
        return _other_host(system)
    kernel = _kernel(system)
    return Host(
        os="linux",
        machine=system.machine,
        kernel=kernel,
        distribution=_distribution(system),
        libc=probe_libc(system, elf_interpreter),
        container=_container(system),
        wsl=_wsl(system, kernel),
        tegra=_tegra(system),
        nvidia_pci=_nvidia_pci(system),
        device_nodes=_device_nodes(system),
        effective_uid=_effective_uid(system),
        container_engine=probe_container_engine(system),
    )


def _other_host(system: ReadSystem) -> Host:
    unknown = Unknown(f"not read on {system.os_name}")
    return Host(
        os=system.os_name,
        machine=system.machine,
        kernel=unknown,
        distribution=unknown,
        libc=unknown,
        container=unknown,
        wsl=Absent(),
        tegra=Absent(),
        nvidia_pci=unknown,
        device_nodes=unknown,
        effective_uid=_effective_uid(system),
    )


def _effective_uid(system: ReadSystem) -> Fact[int]:
    uid = system.effective_uid()
    return Unknown(f"{system.os_name} has no user ids") if uid is None else Present(uid)


def _kernel(system: ReadSystem) -> Fact[str]:
    text = _read(system, "/proc/sys/kernel/osrelease")
    return Present(text.value.strip()) if isinstance(text, Present) else Unknown("/proc/sys/kernel/osrelease: not read")


def _read(system: ReadSystem, path: str) -> Fact[str]:
    """Read a small file as a fact."""
    try:
        return Present(read_text(system, path, _SMALL_BYTES))
    except NotThere:
        return Absent((path,))
    except CannotLook as error:
        return Unknown(error.reason)


def _exists(system: ReadSystem, path: str) -> bool:
    try:
        system.stat(path)
    except NotThere:
        return False
    except CannotLook:
        return True
    return True


def _distribution(system: ReadSystem) -> Fact[str]:
    """Source: https://www.freedesktop.org/software/systemd/man/latest/os-release.html (2026-11-20)."""
    paths = ("/etc/os-release", "/usr/lib/os-release")
    for path in paths:
        text = _read(system, path)
        if isinstance(text, Unknown):
            return text
        if isinstance(text, Present):
            fields = _os_release(text.value)
            name = fields.get("PRETTY_NAME") or f"{fields.get('NAME', '')} {fields.get('VERSION_ID', '')}".strip()
            return Present(name) if name else Unknown(f"{path} names no distribution")
    return Absent(paths)


def _os_release(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            fields[name] = value.strip("\"'")
    return fields


# --- libc ------------------------------------------------------------------------------------------------------------


def probe_libc(system: ReadSystem, elf_interpreter: str | None = None) -> Fact[Libc]:
    """Tell the C library behind an ELF interpreter, without running it.

    Args:
        system: The machine.
        elf_interpreter: PT_INTERP; None takes the first of the usual ones that is there.
    """
    usual = (*_LOADERS, f"/lib/ld-musl-{system.machine}.so.1")
    loader = elf_interpreter or next((path for path in usual if _exists(system, path)), None)
    if loader is None:
        return Absent(usual)
    if posixpath.basename(loader).startswith("ld-musl"):
        return Present(Libc(name="musl", version=Unknown("musl's files carry no version")))
    if not posixpath.basename(loader).startswith(("ld-linux", "ld64", "ld-2", "ld.so")):
        return Unknown(f"{loader}: not a known ELF interpreter")
    return Present(Libc(name="glibc", version=_glibc_version(system, loader)))


def _glibc_version(system: ReadSystem, loader: str) -> Fact[str]:
    """Read the version from the loader's real name (before 2.34), its own text (since 2.33), or libc.so.6 beside it."""
    real = system.realpath(loader)
    libc = posixpath.join(posixpath.dirname(real), "libc.so.6")
    for path in (real, system.realpath(libc)):
        name = _GLIBC_NAME.match(posixpath.basename(path))
        if name:
            return Present(name.group(1))
    for path in (real, libc):
        try:
            banner = _GLIBC_BANNER.search(system.read_bytes(path))
        except (NotThere, CannotLook):
            continue
        if banner:
            return Present(banner.group(1).decode())
    return Unknown(f"neither {real} nor {libc} tells the version of glibc")


# --- what kind of machine --------------------------------------------------------------------------------------------


def _container(system: ReadSystem) -> Fact[str]:
    environment = system.environ()
    if "KUBERNETES_SERVICE_HOST" in environment:
        return Present("kubernetes")
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        return Present("apptainer")
    marked = _read(system, "/run/systemd/container")
    # systemd calls the Windows Subsystem for Linux a container; here it is a fact of its own.
    if isinstance(marked, Present) and marked.value.strip() not in ("", "wsl"):
        return Present(marked.value.strip().splitlines()[0])
    unseen = [marked] if isinstance(marked, Unknown) else []
    for path, kind in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")):
        try:
            system.stat(path)
        except NotThere:
            continue
        except CannotLook as error:
            unseen.append(Unknown(error.reason))
        else:
            return Present(kind)
    if environment.get("container"):
        return Present(environment["container"])
    found = _container_of_cgroup(_read(system, "/proc/1/cgroup"))
    return unseen[0] if unseen and isinstance(found, Absent) else found


def _container_of_cgroup(cgroup: Fact[str]) -> Fact[str]:
    if isinstance(cgroup, Unknown):
        return cgroup
    text = cgroup.value if isinstance(cgroup, Present) else ""
    for sign, kind in _CGROUP_KINDS:
        if sign in text:
            return Present(kind)
    return Absent(("environment", "/run/systemd/container", "/run/.containerenv", "/.dockerenv", "/proc/1/cgroup"))


def _wsl(system: ReadSystem, kernel: Fact[str]) -> Fact[str]:
    """Tell the WSL generation: version 1 kernels are called `4.4.0-19041-Microsoft`, later ones `…-microsoft-standard`.

    Source: https://github.com/microsoft/WSL/issues/4555 (2026-11-20)
    """
    if not isinstance(kernel, Present):
        return kernel
    if "microsoft" not in kernel.value.lower():
        return Absent(("kernel release",))
    return Present("1" if kernel.value.endswith("-Microsoft") and not _exists(system, "/dev/dxg") else "2")


def _tegra(system: ReadSystem) -> Fact[str]:
    path = "/etc/nv_tegra_release"
    text = _read(system, path)
    if isinstance(text, Unknown):
        return text
    if isinstance(text, Present):
        release = _L4T.search(text.value)
        return Present(".".join(release.groups())) if release else Unknown(f"{path}: no L4T release in it")
    board = "/proc/device-tree/compatible"
    compatible = _read(system, board)
    if isinstance(compatible, Present) and "nvidia,tegra" in compatible.value:
        # A container on a Jetson sees the board, but not the host's /etc.
        return Unknown("a Jetson board whose L4T release is not written here")
    return Absent((path, board))


def _nvidia_pci(system: ReadSystem) -> Fact[tuple[str, ...]]:
    folder = "/sys/bus/pci/devices"
    try:
        addresses = system.listdir(folder)
    except NotThere:
        # A board without a PCI bus has /sys/bus all the same; a sandbox without /sys tells nothing.
        return Absent((folder,)) if _exists(system, "/sys/bus") else Unknown("/sys is not mounted")
    except CannotLook as error:
        return Unknown(error.reason)
    try:
        found = tuple(a for a in addresses if _is_nvidia_display(system, posixpath.join(folder, a)))
    except CannotLook as error:
        return Unknown(error.reason)
    return Present(found) if found else Absent((folder,))


def _is_nvidia_display(system: ReadSystem, device: str) -> bool:
    try:
        vendor = system.read_bytes(f"{device}/vendor", 64).strip().lower()
        if vendor != _NVIDIA_VENDOR.encode():
            return False
        return system.read_bytes(f"{device}/class", 64).strip().lower().startswith(_DISPLAY_CLASS.encode())
    except NotThere:  # unplugged while we looked
        return False


def _device_nodes(system: ReadSystem) -> Fact[tuple[str, ...]]:
    try:
        names = system.listdir("/dev")
    except (NotThere, CannotLook) as error:
        return Unknown(str(error))
    found = tuple(f"/dev/{name}" for name in names if _DEVICE_NODE.fullmatch(name))
    return Present(found) if found else Absent(("/dev",))

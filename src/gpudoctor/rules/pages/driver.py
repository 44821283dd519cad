"""Pages of GPD101 to GPD106."""

from __future__ import annotations

from gpudoctor.rules.pages import page

_COMPATIBILITY = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
_FORWARD = "https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html"
_CURESULT = "https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html"
_NVML = "https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html"
_INSTALL = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/"

GPD101 = page(
    finds="""
An NVIDIA device on the bus and no driver that could serve it: nothing installed, libraries without a loaded
kernel module, or a kernel module without `libcuda.so.1`. An error: every program will run on the CPU or stop.
Whoever misses `libcuda.so.1` or `libnvidia-ml.so.1` because of it is listed under this finding and is no finding
of its own.""",
    why="""
The driver was never installed; the kernel was updated and the module was not built for it; Secure Boot refuses an
unsigned module; `nouveau` holds the card; or only half of the driver's packages are installed. A wheel never
brings a driver: CUDA wheels bring everything except `libcuda.so.1`.""",
    known="""
The PCI devices of vendor 0x10de and display class, `/proc/driver/nvidia/version` or `/sys/module/nvidia/version`,
and the loader's own search for `libcuda.so.1` and `libnvidia-ml.so.1`. Containers, WSL and Jetson boards are
judged by rules of their own. Where one of these could not be looked at, the rule is open.""",
    todo="""
Install the driver with the distribution's own tools and reboot. When it is installed, `sudo modprobe nvidia` and
the kernel's log (`sudo dmesg | grep -i nvidia`) say why its module is not loaded.""",
    sources=(_INSTALL,),
)

GPD102 = page(
    finds="""
No NVIDIA device on the bus and no driver. A note, not a fault: everything runs on the CPU. Rules that need a
driver release are open.""",
    why="""
The machine has none: a laptop, a build server, a CI runner. Or the card is switched off in the firmware, handed
to a virtual machine, or not seated.""",
    known="""
The PCI devices of vendor 0x10de, the kernel module, the device files and the driver's libraries. macOS has no
NVIDIA driver at all. Where the bus cannot be read, the rule is open instead.""",
    todo="""
Nothing, when that is how it should be. To judge an environment for the machine it will run on: `gpudoctor check
--assume-driver 550.54.15 --assume-gpu "RTX 3090"`. If there should be a card: `lspci -d 10de:`.""",
    sources=(_INSTALL,),
)

GPD103 = page(
    finds="""
The loaded kernel module is of another release than `libcuda.so.1` or `libnvidia-ml.so.1`. An error: `nvidia-smi`
says “Driver/library version mismatch” and CUDA does not start.""",
    why="""
A driver update (often an unattended one) replaced the libraries while the old module stayed loaded, so only a
reboot is missing. In a container: the image brings driver libraries of its own, which hide those of the host.""",
    known="""
The module's release as the kernel states it, against the release in the real file names behind the two libraries;
or NVML's return code 18. The libraries of a cuda-compat package are newer by design and are not compared.""",
    todo="""
Reboot. On a server that must not: end every program that uses the GPU, unload `nvidia_uvm`, `nvidia_drm`,
`nvidia_modeset` and `nvidia`, and load them again. In a container image: take the driver packages out.""",
    sources=(_NVML, _INSTALL),
)

GPD104 = page(
    finds="""
A driver older than the least release for the CUDA major version that an installed package is built for or opens.
An error. No finding for a driver that is merely older than the toolkit: with driver 570, a build for CUDA 12.9 is
fine.""",
    why="""
A package update moved from CUDA 11 to 12 or from 12 to 13, and the driver stayed. Within one CUDA major, every
runtime works with the first driver of that major (minor-version compatibility); across majors it does not.""",
    known="""
The CUDA version in each package's own files, or the major version of the cudart or cuBLAS that it opens; the
driver release from NVML, the kernel module or the file name of libcuda; the least releases from the matrix. Where
libcuda itself says that it serves the major (a forward-compatibility package), that counts. Without a driver the
rule is open. PTX that has to be compiled on the spot needs a newer driver: GPD107 judges that.""",
    todo="""
Update the driver and reboot. Where you cannot: install the releases that are built for the older CUDA, or, on
data-centre GPUs, a cuda-compat package.""",
    sources=(_COMPATIBILITY, _FORWARD),
)

GPD105 = page(
    finds="""
A GPU that no longer answers its driver (NVML codes 15, “lost”, and 16, “reset required”). An error.""",
    why="""
The card fell off the bus: power supply, overheating, a riser or the slot, a firmware or hardware fault. The
kernel's log then holds an Xid message, often 79.""",
    known="""
NVML's answer for each GPU, asked in a child process with a time limit. Other refusals are open, never a pass.""",
    todo="""
Read `sudo dmesg | grep -E 'NVRM|Xid'`, then power the machine off and on (a reboot alone may not do). If it comes
back, look at power, cooling and seating.""",
    sources=(_NVML, "https://docs.nvidia.com/deploy/xid-errors/"),
)

GPD106 = page(
    finds="""
A driver that is installed and refuses: cuInit answers 802, 803, 804, 999, 34, 46 or 100, or NVML answers that the
module is not loaded (9) or that something is broken (17, 999). An error. A code that it cannot explain, or one that
only says that this user may not ask, is open.""",
    why="""
803 and 804: forward-compatibility libraries (cuda-compat) meet a driver or a card that does not allow them. 802:
the NVSwitch fabric manager is missing or not ready. 999: the driver's state broke, often after suspend, or
`/dev/nvidia-uvm` is missing. 34: a toolkit's stub of libcuda is found first. 100 in a container: no device was
passed in.""",
    known="libcuda and NVML themselves, asked in child processes with a time limit: what they answer is proof.",
    todo="""
Follow the finding: take cuda-compat out of the path or the image, start `nvidia-fabricmanager` of exactly the
driver's release, reload `nvidia_uvm` (`sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm`), or reboot.""",
    sources=(_CURESULT, _FORWARD, _NVML),
)

"""Pages of GPD107 to GPD111, GPD302, GPD303, GPD506, GPD603, GPD604 and GPD701."""

from __future__ import annotations

from gpudoctor.rules.pages import page

_MINOR = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
_FORWARD = "https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html"
_GUIDE = "https://docs.nvidia.com/cuda/cuda-c-programming-guide/#binary-compatibility"
_VARIABLES = "https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html"
_MIG = "https://docs.nvidia.com/datacenter/tesla/mig-user-guide/"
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/troubleshooting.html"
_QUANTIZATION = "https://opennmt.net/CTranslate2/quantization.html"

GPD107 = page(
    finds="""
A build that has no machine code for this GPU, only PTX that the driver must compile, on a driver that is too old
for that PTX. An error; a warning where other visible GPUs have machine code.""",
    why="""
Minor-version compatibility lets a build for CUDA 12.8 run on a driver of CUDA 12.2, but only its ready-made machine
code: PTX carries the version of the CUDA that wrote it, and an older driver refuses it. CTranslate2's wheels end
with machine code for 8.6, so every GPU from 9.0 on (H100, RTX 50) compiles their PTX.""",
    known="""
The architectures in the build's own files (or in the matrix), the GPU's compute capability, and the CUDA version
that the driver serves by itself. GPUs come from NVML or `--assume-gpu`, the driver from NVML or
`--assume-driver`.""",
    todo="""
Update the driver. Where you cannot: install a release that was built with an older CUDA, or one with machine code
for the GPU. The first start after that compiles for a minute; `~/.nv/ComputeCache` keeps the result.""",
    sources=(_MINOR, _GUIDE),
)

GPD108 = page(
    finds="""
A `libcuda.so.1` of a cuda-compat package in front of the driver's own, on a GPU that forward compatibility does not
support, or with a package older than the driver. An error: cuInit answers 803 or 804.""",
    why="""
CUDA base images bring `/usr/local/cuda/compat`, and an image or a profile that adds it to `LD_LIBRARY_PATH` makes
every program load it. It lets data-centre GPUs run a newer CUDA on an older driver; GeForce and TITAN cards refuse
it. On a driver that is newer than the package, it is wrong for every card.""",
    known="""
The loader's own search for `libcuda.so.1`, and what that very library answered to cuInit in a child process: 0 is a
pass whatever the card is. Where it could not be asked, the GPU's name and the two releases decide.""",
    todo="Take the compat folder out of `LD_LIBRARY_PATH` or the package out of the image; update the driver instead.",
    sources=(_FORWARD,),
)

GPD109 = page(
    finds="""
A GPU in an NVSwitch machine (HGX, DGX) that has not joined the fabric. An error: cuInit answers 802, and torch
says “system not yet initialized”.""",
    why="""
The fabric manager is not installed, is of another release than the driver (an update moved one of them), or has not
finished since the machine started.""",
    known="""
NVML's fabric state of each GPU, together with what cuInit answers: where CUDA starts, nothing is wrong. Which
release of nvidia-fabricmanager is installed is not read.""",
    todo="Install `nvidia-fabricmanager` of exactly the driver's release, start its service, read its log.",
    sources=(
        "https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/",
        "https://docs.nvidia.com/deploy/nvml-api/group__NvmlFabric.html",
    ),
)

GPD110 = page(
    finds="""
Uncorrectable memory errors since the driver was loaded: a warning. A GPU that has no spare memory rows left: an
error.""",
    why="""
Memory ages, overheats or is faulty. The GPU ends the processes that used the broken place and maps a spare row in;
when there are none left, errors come back.""",
    known="""
NVML's counters of GPUs with error-correcting memory, since the driver was loaded; consumer cards have none. The
kernel's log with its Xid messages needs root and is not read.""",
    todo="""
Reset the GPU (`sudo nvidia-smi -r`) or reboot: a pending row is mapped then. If the count rises again, have the card
replaced.""",
    sources=("https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/", "https://docs.nvidia.com/deploy/xid-errors/"),
)

GPD111 = page(
    finds="""
A machine that is assumed (`--assume-gpu`, `--assume-driver`) whose driver branch does not support its GPU yet, or no
longer. An error.""",
    why="""
A GPU needs a driver from its own time: an RTX 5090 starts with branch 570. Branch 470 was the last for Kepler, 580 the
last for Maxwell, Pascal and Volta.""",
    known="""
The matrix: the first CUDA version with the GPU's architecture, and the last driver branch. On a real machine there is
nothing to judge: a driver does not list a GPU that it does not know.""",
    todo="Plan with a driver that knows the GPU, and with packages that this driver serves.",
    sources=("https://docs.nvidia.com/datacenter/tesla/drivers/", "https://developer.nvidia.com/cuda-gpus"),
)

GPD302 = page(
    finds="""
A build, or the cuDNN that it opens, without code for a GPU that the process sees: neither machine code that the GPU
runs nor PTX that the driver can compile for it. An error; a warning where it has code for another visible GPU.""",
    why="""
The GPU is newer than the build (an RTX 5090 with torch for CUDA 12.6), or older: Maxwell and Pascal were dropped from
torch's builds for CUDA 12.8, Volta from those for CUDA 13, all three from cuDNN 9.11. Machine code for X.Y runs on X.Z
with Z not less than Y: code for 8.6 serves an RTX 4090 (8.9), code for 9.0 does not serve 12.0. Code for Jetson
boards and code for other GPUs never run on each other.""",
    known="""
The architectures in the build's own files, else those that the matrix has for its release; the GPU's compute
capability from NVML or `--assume-gpu`; `CUDA_VISIBLE_DEVICES` leaves GPUs out. An installed package whose code is
neither readable nor known is open.""",
    todo="""
Install the release or the index build that the finding names. For old cards PyTorch's own index keeps builds for an
older CUDA; for cards that none serves any more, build from source or pin older releases.""",
    sources=(_GUIDE, "https://developer.nvidia.com/cuda-gpus", "https://pytorch.org/get-started/previous-versions/"),
)

GPD303 = page(
    finds="""
Number formats that CTranslate2 does not offer on this GPU. A note, for its default picks one that works; a warning
where whisperX is installed, which asks for float16 by itself; for a format named with `--model NAME:TYPE`, an error,
or a warning where CTranslate2 takes another one in its place.""",
    why="""
float16 needs compute capability 7.0, int8 needs 6.1. An explicit `compute_type` that the GPU lacks raises “Requested
float16 compute type, but the target device or backend do not support efficient float16 computation”. On Blackwell
(12.0), int8 fails in cuBLAS before release 4.6.2, is switched off from 4.6.2 on, and works again from 4.7 on.""",
    known="The release of CTranslate2, the GPU's compute capability, and the matrix.",
    todo="Leave `compute_type` at its default, or name one that the finding lists (`--compute_type` of whisperX).",
    sources=(_QUANTIZATION, "OpenNMT/CTranslate2#1865"),
)

GPD506 = page(
    finds="""
`CUDA_VISIBLE_DEVICES` that names a device that is not there: an error when no GPU is left, a warning when some are.
An empty value or `-1`, which hides every GPU, is a warning. A machine whose GPUs are all in MIG mode without a single
MIG device is an error.""",
    why="""
An index was written for another machine, starts at 1 instead of 0, or is counted as on the host inside a container
that was given one GPU. `all` belongs to `NVIDIA_VISIBLE_DEVICES`, `cuda:0` to torch. CUDA stops reading at the first
entry that names nothing and says no word about it.""",
    known="""
The variable as the process will have it (`--env`, `--env-file`), the GPUs and MIG devices that NVML lists, and their
UUIDs. For an assumed machine, only a value that is given with it counts. With masked UUIDs the rule is open.""",
    todo="Name what `nvidia-smi -L` lists, or leave the variable unset.",
    sources=(_VARIABLES, _MIG),
)

GPD603 = page(
    finds="""
A host with Docker, an NVIDIA GPU and its driver, and without the NVIDIA Container Toolkit: containers cannot get the
GPU. A note, for programs outside containers are not concerned; a warning when Docker's configuration names a runtime
“nvidia” that is not installed.""",
    why="""
Docker does not bring the toolkit. `docker run --gpus all` then fails with “could not select device driver”. Docker
Desktop on Linux runs its containers in a virtual machine without a GPU. The snap of Docker sees no file of the host's
toolkit: it brings its own, and configures it when it finds the driver.""",
    known="""
The programs `docker`, `nvidia-container-runtime`, `nvidia-container-runtime-hook` and `nvidia-ctk` in the usual
folders, `/etc/docker/daemon.json` (of a snap: `/var/snap/docker/current/config/daemon.json`), `/etc/cdi`, and the
context that `~/.docker/config.json` names. Docker itself is not asked; a rootless one is not told from a plain one.
Inside a container GPD601 judges.""",
    todo="""
Install the toolkit, run `sudo nvidia-ctk runtime configure --runtime=docker`, restart Docker. Away from Docker Desktop:
`docker context use default`.""",
    sources=(
        "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html",
        "docker/roadmap#497",
        "canonical/docker-snap#148",
        "canonical/docker-snap#161",
    ),
)

GPD604 = page(
    finds="""
A container that was given the GPU (its device files and libcuda are there) and may no longer open it. An error: NVML
says “Unknown Error”, and CUDA finds no device.""",
    why="""
With systemd's cgroup driver, `systemctl daemon-reload` on the host rewrites the permissions of running containers,
and devices that were added behind its back are lost. A new container works.""",
    known="The marks of a container, the device files, and NVML's answer (999 or 17) in a child process.",
    todo="""
Restart the container. To prevent it: name the device files with `--device`, use a CDI device, or set Docker's cgroup
driver to cgroupfs.""",
    sources=(_TOOLKIT, "NVIDIA/nvidia-container-toolkit#48"),
)

GPD701 = page(
    finds="""
Models named with `--model NAME[:COMPUTE_TYPE[:BATCH]]` that need more memory than the GPU has: an error where the
figures were measured, a warning where they are estimates. A warning, too, when they would fit but other processes
hold the memory now. Without `--model` there is nothing to judge.""",
    why="""
Whisper large takes about 4.5 GiB in float16 and 9 in float32; batches, alignment and diarization come on top; two
services on one card add up; a desktop or another process holds some already.""",
    known="""
Peak figures of faster-whisper from the matrix, each with its source and status; total and free memory from NVML, of
the slice in MIG mode; the visible GPU with the most memory. An unknown size, or a format without a figure, is
open.""",
    todo="Use `int8_float16`, a smaller model, smaller batches, or one model a GPU.",
    sources=("https://github.com/SYSTRAN/faster-whisper#benchmark", "SYSTRAN/faster-whisper#1030"),
)

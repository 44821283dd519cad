"""Pages of GPD301, GPD401, GPD501 to GPD505, GPD601, GPD602 and GPD901."""

from __future__ import annotations

from gpudoctor.rules.pages import page

_LD_SO = "https://man7.org/linux/man-pages/man8/ld.so.8.html"
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html"

GPD301 = page(
    finds="""
A build without GPU code where a GPU is meant, which is: an NVIDIA GPU is there, or CUDA packages are installed.
An error for ctranslate2, and for torch beside whisperX, pyannote.audio or openai-whisper, when there is a GPU; a
warning otherwise; a note for an onnxruntime that nobody asked for. The CPU onnxruntime that faster-whisper
requires for its voice detection is fine and no finding.""",
    why="""
torch was installed from the CPU index, or a lock file made on another platform chose `+cpu`. ctranslate2's wheels
for 64-bit ARM are built without CUDA.""",
    known="""
The package's own files: its version module, the CUDA libraries that belong to it, its recorded build options.""",
    todo="Install the GPU build of the same release; for ctranslate2 on ARM, build it from source with CUDA.",
    sources=("https://pytorch.org/get-started/locally/", "https://opennmt.net/CTranslate2/installation.html"),
)

GPD401 = page(
    finds="""
Two installed packages of which the matrix says that they write the same files into one folder: onnxruntime and
onnxruntime-gpu, or cuDNN for two CUDA majors. An error when the wrong one is on disk, or when nobody can tell; a
warning when the right one is.""",
    why="""
The package installer lets the last one overwrite the first, without a word. Removing either then deletes files of
the other. faster-whisper requires `onnxruntime`, so it is installed beside an `onnxruntime-gpu` that was there
before.""",
    known="""
The installed distributions and the paths in their RECORD files; which of them is on disk is told by the recorded
sizes. Files that are shared without harm, such as an empty `nvidia/__init__.py`, are not counted.""",
    todo="""
Remove both, then install the one that you want. `pip check` may complain about the other one's name: that is
harmless.""",
    sources=("https://onnxruntime.ai/docs/install/", "microsoft/onnxruntime#26996"),
)

GPD501 = page(
    finds="""
A folder in `LD_LIBRARY_PATH` that is not there. A note, for the loader passes over it; a warning when it looks
like a CUDA folder and a consumer misses libraries.""",
    why="A toolkit or an environment was removed or moved, and the profile, unit file or Dockerfile still names it.",
    known="Each element, as the loader reads it.",
    todo="Correct or remove it where the variable is set.",
    sources=(_LD_SO,),
)

GPD502 = page(
    finds="An empty or relative element in `LD_LIBRARY_PATH`. A warning.",
    why="""
`LD_LIBRARY_PATH=/new:$LD_LIBRARY_PATH` with the variable unset before leaves a colon at the end, and an empty
element means the current folder. Then a library in the folder that a program happens to be started in is loaded
instead of the right one, and whoever can write there can run code in the program.""",
    known="Each element, as the loader reads it: `:` and `;` both separate.",
    todo="Write `/new${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}`, and name folders in full.",
    sources=(_LD_SO,),
)

GPD503 = page(
    finds="""
A library that a consumer takes from `LD_LIBRARY_PATH` although another release of it would be found without the
variable. A warning. When the one taken cannot be loaded, it is listed under the finding on that library.""",
    why="""
`LD_LIBRARY_PATH` comes before RUNPATH and before the loader's cache, so a folder that was meant for one program
changes what all others get.""",
    known="The loader is emulated with and without the variable; releases are compared, not paths.",
    todo="Set the variable for the one program that needs it, not for the whole shell or machine.",
    sources=(_LD_SO,),
)

GPD504 = page(
    finds="""
`LD_LIBRARY_PATH` is set, and the loader ignores it for this interpreter. A warning; an error when a consumer
misses libraries that lie in one of its folders.""",
    why="""
The interpreter has a set-user-id bit or file capabilities (`setcap cap_net_bind_service…`): the loader then runs
in secure-execution mode and drops the variable.""",
    known="The mode bits and the `security.capability` attribute of the interpreter's file.",
    todo="""
Give the capability to the service unit instead (`AmbientCapabilities=`), or make the folders known with
`ldconfig`.""",
    sources=(_LD_SO, "https://man7.org/linux/man-pages/man7/capabilities.7.html"),
)

GPD505 = page(
    finds="An element of `LD_LIBRARY_PATH` with `~`, quotation marks or a variable in it. A warning.",
    why="""
Unit files, `docker run -e`, `.env` files and quoted shell strings do not expand them, and the loader does not
either (it knows only `$ORIGIN`, `$LIB` and `$PLATFORM`).""",
    known="Each element, as written.",
    todo="Write the full path.",
    sources=(_LD_SO,),
)

GPD601 = page(
    finds="""
A container without the GPU. An error when an NVIDIA device of the host can be seen, or when device files are
there and libcuda is not; a note when nothing tells whether the host has a GPU.""",
    why="""
It was started without `--gpus` or a device request, the NVIDIA Container Toolkit is not installed, or the image
sets `NVIDIA_DRIVER_CAPABILITIES` without `compute`.""",
    known="The marks of a container, the host's PCI devices, the device files and the loader's search for libcuda.",
    todo="""
`docker run --gpus all …`, `podman run --device nvidia.com/gpu=all …`; Compose: a device reservation; Kubernetes:
a limit `nvidia.com/gpu: 1`. Drivers belong on the host, not in the image.""",
    sources=(_TOOLKIT,),
)

GPD602 = page(
    finds="""
Inside WSL: libcuda lies in `/usr/lib/wsl/lib` and is not found, or a Linux driver's libcuda is found instead, or
the distribution runs under WSL 1. An error. A note when Windows has no NVIDIA driver.""",
    why="""
Under WSL the driver is the one of Windows, mounted at `/usr/lib/wsl/lib`. A Linux driver installed inside hides
it; a changed `/etc/ld.so.conf.d` loses it.""",
    known="The loader's search for `libcuda.so.1`, and what libcuda and NVML answer.",
    todo="""
Remove Linux driver packages; put the folder back with `/etc/ld.so.conf.d/ld.wsl.conf` and `sudo ldconfig`.""",
    sources=(
        "https://docs.nvidia.com/cuda/wsl-user-guide/",
        "https://learn.microsoft.com/windows/wsl/tutorials/gpu-compute",
    ),
)

GPD901 = page(
    finds="A rule of gpudoctor itself failed. An error, and the rule in question is open.",
    why="A defect of gpudoctor, met by a machine nobody had thought of.",
    known="The engine catches what a rule raises and never takes it for a pass.",
    todo="Report it and attach `gpudoctor snapshot > snapshot.json`; `--ignore ID` leaves the rule out until then.",
    sources=("the project's issue tracker",),
)

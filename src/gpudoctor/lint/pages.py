"""Pages of the rules that only files can break."""

from __future__ import annotations

from gpudoctor.rules.pages import page

_PEP440 = "https://packaging.python.org/en/latest/specifications/version-specifiers/"

GPD471 = page(
    finds="""
A package that is not pinned, whose allowed releases need different GPU libraries, CUDA releases or partners, in files
that install others of such a set (torch, torchaudio, ctranslate2, faster-whisper, whisperX, onnxruntime-gpu, cuDNN,
cuBLAS, …). A warning. A package that only another one requires counts too: faster-whisper allows any ctranslate2 4.""",
    why="""
What works today is what the newest releases happen to be today. ctranslate2 4.4 opens cuDNN 8, 4.5 opens cuDNN 9, 4.6.3
none at all; torch 2.11 moved from CUDA 12 to 13: the same file, installed a month later, aborts.""",
    known="""
The matrix's facts on every release that the files allow; a package all of whose allowed releases are alike is fine.""",
    todo="Pin it to the release that works, or commit a lock (uv.lock, pylock.toml, a compiled requirements file).",
    sources=(_PEP440, "https://packaging.python.org/en/latest/discussions/install-requires-vs-requirements/"),
)

GPD472 = page(
    finds="""
Requirements on one package that contradict each other: two lines of the files, or a line and what another package's own
metadata requires. An error.""",
    why="""
An installer refuses such a set, after minutes of downloads, or (with separate `pip install` lines) silently replaces
the release that an earlier line installed.""",
    known="The files' lines, and the requirements of the releases that they pin, which the matrix has from wheels.",
    todo="Change one of the two lines that the finding names; `gpudoctor pins` finds a set that fits.",
    sources=(_PEP440, "https://pip.pypa.io/en/stable/topics/dependency-resolution/"),
)

GPD473 = page(
    finds="A pinned release that its maintainers yanked. A warning.",
    why="""
A yanked release is broken in a way that its makers found bad enough to withdraw it; an exact pin installs it all the
same.""",
    known="The package index's own mark, as the matrix has it.",
    todo="Move to a release beside it that is not withdrawn.",
    sources=("https://packaging.python.org/en/latest/specifications/file-yanking/",),
)

GPD474 = page(
    finds="""
A pin to a release that the package index has no wheel of. An error where the matrix knows that it never was there (a
model's version, a Git tag), else a warning: it may be there as a source archive. A pin to one that is newer than the
matrix is open instead: it may have been published since. A pin with a build label (`torch==2.5.1+cu121`) counts too,
where no index that the files name serves that label, or where PyTorch never built that release for it.""",
    why="""
The version is that of another thing of the same name (a model, a Git tag), a typing slip, or only ever was a source
archive. Builds with a label are on PyTorch's own indexes, one for each label, and on no other.""",
    known="The list of releases with wheels for 64-bit Linux that the matrix has from the package index.",
    todo="""
Pin one that exists, or install it from where it really is (Git, torch.hub) and leave it out of the list. For a label,
name its index: `--extra-index-url https://download.pytorch.org/whl/cu121`.""",
    sources=(_PEP440,),
)

GPD479 = page(
    finds="""
Nothing by itself: it is open for each line that may install something and could not be understood: a variable or a
command in it, a Git or file URL, a file that is not there, a base image of one's own. One line more names packages
that the matrix does not know: of a kind that brings GPU packages (vllm, stable-ts), or beside GPU packages.""",
    why="""
What could not be looked at is never shown as fine. With `--strict` it fails, but for packages that are only beside GPU
packages: nearly every list has such.""",
    known="The line, with its place and the reason.",
    todo="""
Write the version out, or add the file that is pulled in; `gpudoctor check` judges what was really installed.""",
    sources=("the file itself",),
)

GPD561 = page(
    finds="""
A script or Dockerfile that links or copies cuDNN or cuBLAS files of a wheel into the folder of another program, such as
the one that ONNX Runtime's RUNPATH names. A note.""",
    why="""
It works: the loader finds them there, whoever starts the program. But the links belong to no package. An upgrade of the
wheel leaves links to files that are gone, or makes a mixture of two releases where only some names were linked; an
upgrade of the program deletes them. One library alone is not enough: cuDNN's parts open each other by name.""",
    known="The commands of the script.",
    todo="""
Pin the wheels that are linked, link all of their parts anew after each upgrade, or let `gpudoctor fix` do it, which can
take it back; `gpudoctor check --binary PROGRAM` shows what the program will load.""",
    sources=("https://man7.org/linux/man-pages/man8/ld.so.8.html",),
)

GPD651 = page(
    finds="""
A compose service whose image or build holds GPU packages, or a CUDA base, and that gets no GPU: no device reservation,
no `gpus:`, no `runtime: nvidia`. A warning.""",
    why="""
A container sees only the devices that it is given. Without one, the CUDA packages run on the CPU or stop with “CUDA
driver version is insufficient”, although the host's driver is right.""",
    known="The service's own lines, and what its Dockerfile installs.",
    todo="""
`deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}` or, with a recent
Compose, `gpus: all`. A host whose default runtime is NVIDIA's needs neither: ignore the rule there.""",
    sources=("https://docs.docker.com/compose/how-tos/gpu-support/",),
)

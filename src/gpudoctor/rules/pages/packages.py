"""Pages of GPD402 to GPD406."""

from __future__ import annotations

from gpudoctor.rules.pages import page

_AUDIO = "https://docs.pytorch.org/audio/2.11.0/installation.html"
_CODEC = "https://github.com/pytorch/torchcodec?tab=readme-ov-file#installing-torchcodec"

GPD402 = page(
    finds="""
torchaudio, torchvision or torchcodec of a release that is built for another torch than the one installed, or built
with another CUDA. An error: the import fails, and with it whatever imports the package (whisperX, pyannote.audio).""",
    why="""
torchaudio 2.11 and every torchcodec name no torch release in their metadata, so an installer lets any two meet, and
`pip check` is clean: `pip install torchaudio` beside an older torch takes the newest one. torch on the package index
moves to a newer CUDA, while torchaudio, which ended at 2.11.0, stays at 13.0. One of them came from another index than
the other.""",
    known="""
The installed releases and the matrix's facts on pairs; the CUDA of each build from its own version file, or from the
CUDA runtime that its libraries link. torchaudio compares CUDA releases to the minor version, torchvision only the
major. Builds of somebody's own (pre-releases, labels that PyTorch does not publish) are open.""",
    todo="""
Install the whole family in one command, from one index, and pin it: `pip install torch==X torchaudio==Y --index-url
https://download.pytorch.org/whl/cuZZZ`. `gpudoctor pins` names a set that fits.""",
    sources=(_AUDIO, _CODEC, "pytorch/audio src/torchaudio/_extension/utils.py (_check_cuda_version)"),
)

GPD403 = page(
    finds="""
Two installed releases of which the matrix says that they do not work together: a module compiled for NumPy 1 beside
NumPy 2, a package that calls what a newer release of another one has removed, a checkpoint reader beside torch 2.6
and its new default. An error or a warning, as the fact says.""",
    why="""
The older package's metadata has no upper bound, or its bound was overridden; the newer one removed or changed what it
uses.""",
    known="""
The installed releases and the matrix's facts, each with the threads or wheels that it was read from. Nothing is
imported. Pairs that the files themselves tell more about (cuDNN's majors, torch's family) are judged by GPD202 and
GPD402.""",
    todo="Install one of the two in a release that the finding names, or a set that `gpudoctor pins` computes.",
    sources=(
        "https://numpy.org/doc/stable/numpy_2_0_migration_guide.html",
        "https://docs.pytorch.org/docs/stable/generated/torch.load.html",
    ),
)

GPD404 = page(
    finds="""
A requirement of a package of the speech stack (torch and its family, ctranslate2, onnxruntime, faster-whisper,
whisperX, openai-whisper, pyannote.audio, silero-vad) that is not met, or one that its metadata forgets. An error when
what it imports first is not there at all; a warning for another release than it asks for.""",
    why="""
`--no-deps`, a later `pip install` of another package that moved the release, two requirements that contradict each
other, or a constraint that was overridden on purpose.""",
    known="""
The Requires-Dist lines of the installed metadata that name GPU packages, their markers evaluated for the judged
interpreter. NVIDIA's libraries that are not there are left to the rules on libraries, which know what the loader will
find; a newer one of the same major version is no finding. onnxruntime-gpu counts as onnxruntime. In conda
environments, and where sys.path is not fully known, an absence says nothing.""",
    todo="Install the release that is asked for, unless you meant it so: then set the finding aside in the settings.",
    sources=("https://packaging.python.org/en/latest/specifications/core-metadata/#requires-dist-multiple-use",),
)

GPD405 = page(
    finds="""
An installed release that has no wheel for the Python of this environment. A note: it is there, after all.""",
    why="""
The environment was copied or its Python replaced; the package was forced, or built from source, which few test.""",
    known="The version of the interpreter and the matrix's facts on the wheels of each release.",
    todo="Make the environment anew with a Python that has wheels, or install a newer release of the package.",
    sources=("https://packaging.python.org/en/latest/specifications/core-metadata/#requires-python",),
)

GPD406 = page(
    finds="""
A GPU library whose size is not the one that its package recorded when it was installed. A warning: it may work, it may
be of another release than everything says, it may be cut short.""",
    why="""
Somebody copied a library of another release over it, a tool stripped or patched it, a download or a disk was full, or
an environment that shares its files with others by hard links (uv's way) was changed in place: then every one of them
has it, and the installer's cache too, which hands it to the next one.""",
    known="""
The sizes on disk and those in each package's RECORD, for the libraries that NVIDIA's packages and the consumers bring.
Contents are not read: a change that keeps the size is not seen, except by `--deep`. Files that two packages both
write are GPD401's. Hard links as such are no fault and no finding: only a changed file's links are told.""",
    todo="""
Install the package anew, without the installer's cache; where the file is hard linked, clear the cache, and do the same
in the other environments.""",
    sources=("https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file",),
)

"""Pages of GPD207, GPD208, GPD209, GPD702 and GPD703."""

from __future__ import annotations

from gpudoctor.rules.pages import page

_LD_SO = "https://man7.org/linux/man-pages/man8/ld.so.8.html"

GPD207 = page(
    finds="""
A consumer whose libraries want a version of `libc.so.6`, `libm.so.6` or `libstdc++.so.6` that the file which its
process gets does not have (“version `GLIBCXX_3.4.32' not found”). An error: its import fails.""",
    why="""
The package was built on, or for, a newer system than this one; or an older libstdc++ is found first: that of a conda
environment, or one in a folder of `LD_LIBRARY_PATH`.""",
    known="""
The versions that each library wants (DT_VERNEED), against those that the file defines which the loader will choose
(DT_VERDEF): the same comparison as the loader's own. Which file that is depends on the whole search: the evidence names
it.""",
    todo="""
For the C++ library: renew it in the environment that holds it, or take its folder out of `LD_LIBRARY_PATH`. The C
library belongs to the system: use a newer system or container image, or an older release of the package.""",
    sources=(_LD_SO, "https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html"),
)

GPD208 = page(
    finds="""
A consumer's library that asks for an executable stack, on a C library that refuses this: glibc 2.41 and newer. An
error: “cannot enable executable stack as shared object requires”. The ctranslate2 wheels up to 4.5.0 have one.""",
    why="""
One object file without the right mark is enough for the linker to ask for an executable stack for the whole library.
Until glibc 2.40 the loader gave way in silence; from 2.41 on, what is opened while a process runs may not have one.""",
    known="""
The flags of PT_GNU_STACK in each library that the import loads, the versions that the process's libc.so.6 defines, and
GLIBC_TUNABLES. Where the program itself has an executable stack, nothing is refused.""",
    todo="""
Install a newer release of the package; for ctranslate2, 4.6.0 or newer. Where you cannot: start the process with
`GLIBC_TUNABLES=glibc.rtld.execstack=2`, which allows it again.""",
    sources=("OpenNMT/CTranslate2#1849", "m-bain/whisperX#1038", _LD_SO),
)

GPD209 = page(
    finds="""
A consumer, or a judged program, that cannot be loaded for want of a library that is no GPU library: `libgomp.so.1` in a
slim image, a file of the package itself that is gone, a file that is no library. An error.""",
    why="""
A container image without the usual system libraries; an installation that was interrupted or partly removed; a program
that was built on another system.""",
    known="""
The loader's own search, emulated for everything that the import links. Where a place could not be searched, the rule is
open.""",
    todo="Install the system package that brings the library, or install the damaged package anew.",
    sources=(_LD_SO,),
)

GPD702 = page(
    finds="""
torchcodec is installed, and the shared libraries (`libavutil.so.…`) of none of the FFmpeg releases that it was built
for are found. An error; a warning beside whisperX, which reads audio with the program `ffmpeg` and never asks
torchcodec.""",
    why="""
torchcodec's wheels bring no FFmpeg. A static `ffmpeg` program, and the libraries inside PyAV's wheels, are of no use to
it. A distribution's FFmpeg may be newer than the torchcodec release knows.""",
    known="""
Each of torchcodec's libraries, one for each FFmpeg release, resolved as the loader would, after torch was imported. The
pairing of torchcodec with torch is GPD402's.""",
    todo="""
Install an FFmpeg with shared libraries: the distribution's `ffmpeg` package, or conda-forge's in the environment. With
pyannote.audio 4 you can also hand over the samples instead of a path.""",
    sources=("https://github.com/pytorch/torchcodec?tab=readme-ov-file#installing-torchcodec",),
)

GPD703 = page(
    finds="""
openai-whisper, whisperX or whisper-timestamped without the program `ffmpeg` on PATH. A warning: they start it for every
audio file, and only samples that are handed over in memory work without it.""",
    why="""
No wheel brings the program. A slim container image has none; a service, a notebook server or a desktop shortcut starts
with another PATH than the shell where `ffmpeg -version` works. faster-whisper decodes with the libraries inside PyAV
and needs no program.""",
    known="""
The folders of PATH as the judged process will have it (`--env PATH=…`, `--env-file`), and the environment's own `bin`.
The program is not started. Beside a package that brings one of its own (static-ffmpeg, imageio-ffmpeg), and on Windows,
nothing is said. Whether a certain file can be decoded is not judged.""",
    todo="""
Install the distribution's `ffmpeg` package, or conda-forge's in the environment; name its folder in the PATH of the
service (`Environment=PATH=…` in a unit file).""",
    sources=(
        "https://github.com/openai/whisper#setup",
        "https://github.com/m-bain/whisperX#setup-%EF%B8%8F",
        "myshell-ai/OpenVoice#94",
    ),
)

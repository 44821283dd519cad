"""Pages of GPD201 to GPD206 and GPD210."""

from __future__ import annotations

from gpudoctor.rules.pages import page

_LD_SO = "https://man7.org/linux/man-pages/man8/ld.so.8.html"
_DLOPEN = "https://man7.org/linux/man-pages/man3/dlopen.3.html"
_CUDNN = "https://docs.nvidia.com/deeplearning/cudnn/latest/"
_CUBLAS = "https://docs.nvidia.com/cuda/cublas/"

GPD201 = page(
    finds="""
A library that a consumer (ctranslate2, torch, onnxruntime, …) opens, and that the loader will not give it: it is
installed where that consumer never looks, it is not installed, a dependency of it is missing, or the first file
of that name is no library at all (a Git LFS pointer, an empty or truncated file). An error, for each consumer by
itself. Where only processes that import torch first are hit, a warning; so too what a native program (`--binary`)
opens perhaps, of which only the name in its file tells.""",
    why="""
A wheel's native code opens cuDNN and cuBLAS by bare name at the first convolution or matrix product, long after
`import` succeeded. The loader then searches the requester's RPATH, `LD_LIBRARY_PATH`, its cache and the system
folders. It knows nothing of `site-packages/nvidia/*/lib`. torch finds its wheels through an RPATH of its own, and
that helps torch only. `ldd`, `import` and `pip check` see nothing of this, for nothing of it is linked or
declared.""",
    known="""
It emulates glibc's search for each name that the consumer opens, on behalf of the object that opens it, in a
process of its own and in one that imported torch first. The evidence lists every place tried; `gpudoctor libs -v`
prints them all. For a native program the names are those that stand alone among its constants; one that is found
nowhere at all is an open question, for the program may do without. Where `sys.path` cannot be known in full, “not
installed” is open instead. On musl, macOS and Windows the rule is open.""",
    todo="""
`gpudoctor fix` shows a repair that works however the environment is started, `--apply` makes it, `--undo` takes it
back; `gpudoctor run -- COMMAND` starts one program with the right paths. By hand, where the files are installed
elsewhere: put the folders into `LD_LIBRARY_PATH` **before the process starts**, in the unit file, the
Dockerfile or the shell that starts it. The loader reads the variable once, at the start: setting `os.environ` in
Python does nothing. For a native program, `gpudoctor fix --binary` makes links or a wrapper. Not installed: install the
package that the finding names. Damaged: install its owner anew.""",
    sources=(_LD_SO, _DLOPEN, "OpenNMT/CTranslate2#1826", "m-bain/whisperX#1297"),
)

GPD202 = page(
    finds="""
A consumer that needs cuDNN 9 where only cuDNN 8 is installed, or the other way round. An error. The single parts
that it will not find are listed under this finding.""",
    why="""
cuDNN's major version is a part of every file name (`libcudnn_ops.so.9`), so cuDNN 8 is no substitute for 9. Two
packages of one environment pin different majors: torch before 2.4 and ctranslate2 up to 4.4 take cuDNN 8, later
ones cuDNN 9; ctranslate2 from 4.6.3 on takes none.""",
    known="""
The names that the consumer's own dispatch library opens, the loader's answer for each, and the cuDNN files on
disk: none of the wanted major, some of another.""",
    todo="""
Move the consumer to a release that takes the installed major (or none), or install the wanted major in an
environment where nobody pins the other.""",
    sources=(_CUDNN, "m-bain/whisperX#901"),
)

GPD203 = page(
    finds="""
A consumer that is built for one CUDA major where only the libraries of another are installed: `libcublas.so.12`
is wanted and `libcublas.so.13` is there. An error.""",
    why="""
The major version is a part of the file name, and a library of CUDA 13 is no substitute for one of CUDA 12. The
packages of CUDA 13 have no suffix (`nvidia-cublas`), those of CUDA 12 do (`nvidia-cublas-cu12`), so an unpinned
install fetches 13. A newer torch brings CUDA 13 while ctranslate2 still takes 12.""",
    known="The names that the consumer opens, the loader's answer for each, and the files of that family on disk.",
    todo="""
Install the packages of the wanted major beside the others: their folders differ, so both can stay. A consumer
that does not search them by itself needs `LD_LIBRARY_PATH` as well: the finding prints both commands.""",
    sources=(_CUBLAS,),
)

GPD204 = page(
    finds="""
Parts of two cuDNN builds in one process. An error when the linker refuses (an undefined symbol) or when the
dispatch library is newer than its parts; a warning when parts of different releases load all the same. A dispatch
library that is older than a complete set of parts works and is no finding.""",
    why="""
From 9.0 to 9.23 cuDNN's own files carry a RUNPATH, which is searched after `LD_LIBRARY_PATH`. A folder there,
meant for another program, redirects some of the parts: those that are opened by name, but not those that are
already loaded.""",
    known="""
The file that each part resolves to, its release, and the symbols that it needs from the others. The message
“Unable to load any of {libcudnn_ops.so.9…}” also appears when the file is there and a symbol is not. cuDNN's own
version checks answered “success” for every mixture that loads, so they prove nothing.""",
    todo="""
Let all parts come from one folder: take the other build's folder out of `LD_LIBRARY_PATH`, or put the complete
one first.""",
    sources=(_CUDNN, _LD_SO, "OpenNMT/CTranslate2#1826"),
)

GPD205 = page(
    finds="""
Parts of two CUDA toolkit releases in one process: cuBLAS with another release's cuBLASLt, or cuSPARSE with an
older nvJitLink. An error when the linker refuses (`undefined symbol: __nvJitLink…`), a warning when they load all
the same. A note where whole libraries (cuBLAS, cuFFT, …) come out of two toolkits of one CUDA major.""",
    why="""
A toolkit under `/usr/local/cuda` in `LD_LIBRARY_PATH`, next to wheels of another release; wheels of different
releases after a partial upgrade; or two toolkits, each of which lacks what the other has. That two toolkits are
installed is no finding: only that one program gets libraries out of both.""",
    known="The file that each part resolves to, its release, and the symbols that it needs from the others.",
    todo="""
Take the toolkit's folder out of `LD_LIBRARY_PATH` for this program: the wheels need no toolkit. Or bring the
wheels to the releases that one package pins together.""",
    sources=(_CUBLAS, "infiniflow/ragflow#4466"),
)

GPD206 = page(
    finds="""
A library that a consumer gets only in a process that imported torch before. An error; a warning for onnxruntime,
and where whisperX or pyannote.audio are installed, which import torch first; a note where the consumer's own
import imports torch (ctranslate2 up to 4.8.1).""",
    why="""
torch loads the CUDA wheels through its own RPATH. The loader gives a library that is already loaded to anybody
who asks for it by the same name, so the consumer works by luck. It stops working when the imports change their
order, or with the release that no longer imports torch.""",
    known="The loader is emulated twice: in a process of the consumer's own, and in one that imported torch first.",
    todo="""
Make the consumer independent: put the folder into `LD_LIBRARY_PATH` before the process starts. Or import torch
first, everywhere, on purpose.""",
    sources=(_DLOPEN, "https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html"),
)

GPD210 = page(
    finds="""
A library with the right name that is built for another CUDA: cuDNN for CUDA 13 under a program built for CUDA 12. An
error where the driver does not serve that CUDA; a warning where cuDNN will miss libraries of it; a note where it may
well work.""",
    why="""
`libcudnn.so.9`, `libcurand.so.10` and `libnccl.so.2` are called the same for CUDA 12 and 13, so the loader cannot tell
them apart. nvidia-cudnn-cu13 came with a newer torch, or was installed in place of nvidia-cudnn-cu12; or the folder of
another toolkit comes first in `LD_LIBRARY_PATH`. Such a library holds a CUDA runtime of its own, which wants a driver
for its CUDA, and opens its own cuBLAS and NVRTC.""",
    known="""
The CUDA that the program is built for, and that of the library by the name of its package (`-cu13`), of its folder
(`nvidia/cu13/lib`) or of the toolkit that it lies in. A cuDNN of the system or of conda says nothing of the kind and is
not judged.""",
    todo="""
Install the package for the program's own CUDA (`nvidia-cudnn-cu12`), in an environment where nobody needs the other:
both write the same files.""",
    sources=(
        "https://docs.nvidia.com/deeplearning/cudnn/backend/latest/reference/support-matrix.html",
        "jianchang512/stt#130",
        "nvidia-cudnn-cu13==9.19.0.56: libcudnn_engines_precompiled.so.9 opens libcublasLt.so.13 and libnvrtc.so.13",
    ),
)

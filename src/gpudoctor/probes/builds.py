"""How the GPU packages were built, from their own files: constants are parsed, libraries looked at, nothing runs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

import msgspec

from gpudoctor.loader.elf import ElfError, read_elf
from gpudoctor.model.environment import Build, Distribution, SharedFiles
from gpudoctor.model.fact import Absent, Fact, Present, Unknown, value_of
from gpudoctor.probes.gpu_code import has_gpu_code, read_arch_flags, read_architectures
from gpudoctor.probes.paths import is_file, kind_of, names_in
from gpudoctor.probes.source import constants_or_none, read_constants
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_LOCAL_CUDA = re.compile(r"cu(\d{1,2})(\d)")
_CUDNN_PIN = re.compile(r"nvidia-cudnn-cu\d+\s*\(?\s*==\s*([0-9][0-9.]*)")
_CT2_LIBRARY = re.compile(r"libctranslate2(-[0-9a-f]+)?\.(so|\d|dylib)")
_CUDNN_SHIM = re.compile(r"libcudnn(?:-[0-9a-f]{8})?\.so\.([0-9.]+)")
_WINDOWS_CUDNN = re.compile(r"cudnn64_(\d+)\.dll", re.IGNORECASE)
_ORT_LIBRARY = re.compile(r"libonnxruntime\.so\.(\d+\.\d+\.\d+)")
_TAGGED_LIBRARY = re.compile(r"(_torchaudio|_C|libtorchcodec(_core|_decoder)?\d)(\.[^/]*)?\.so")
_NEEDED_VERSION = re.compile(r"lib(cudnn|cudart|cublas)\.so\.([0-9]+)")
_PURE = Absent(())


class _Package(msgspec.Struct, frozen=True):
    """A consumer that is installed.

    Attributes:
        system: The machine.
        name: Import name.
        distribution: What brings it.
        folder: Its folder in the site folder; None when it is not there.
        site_dir: The site folder.
    """

    system: ReadSystem
    name: str
    distribution: Distribution | None
    folder: str | None
    site_dir: str

    def path(self, *parts: str) -> str:
        """Return a path inside the package."""
        return posixpath.join(self.folder or self.site_dir, *parts)

    def build(
        self,
        version: str | Fact[str],
        gpu: Fact[bool] = _PURE,
        cuda: Fact[str] = _PURE,
        cudnn: Fact[str] = _PURE,
        architectures: Fact[tuple[str, ...]] = _PURE,
    ) -> Build:
        """Return the build, with the distribution's version where the files name none."""
        fact = Present(version) if isinstance(version, str) else version
        if not isinstance(fact, Present) and self.distribution is not None:
            fact = self.distribution.version
        owner = self.distribution.name if self.distribution else self.name.replace("_", "-").replace(".", "-")
        return Build(
            package=self.name,
            distribution=owner,
            version=fact,
            gpu=gpu,
            cuda=cuda,
            cudnn=cudnn,
            architectures=architectures,
        )


def probe_builds(
    system: ReadSystem,
    site_dirs: tuple[str, ...],
    distributions: tuple[Distribution, ...],
    shared_files: tuple[SharedFiles, ...] = (),
) -> tuple[Build, ...]:
    """Return how each installed GPU package was built.

    Args:
        system: The machine.
        site_dirs: Folders to look in, in sys.path order.
        distributions: The installed distributions.
        shared_files: Files with two owners: whose are on disk decides which of two onnxruntime wheels is meant.

    Returns:
        One entry per package found, by files or by distribution. Nothing about a machine's state makes this raise.
    """
    imported = {d.name: d for d in reversed(distributions)}
    on_disk = {value_of(shared.on_disk) for shared in shared_files}
    found = []
    for name, (owners, look) in _LOOKS.items():
        owners = tuple(sorted(owners, key=lambda owner: owner not in on_disk))
        package = _find_package(system, name, owners, site_dirs, imported)
        if package is not None:
            found.append(look(package) if package.folder else _without_files(package))
    return tuple(found)


def _find_package(
    system: ReadSystem,
    name: str,
    owners: tuple[str, ...],
    site_dirs: tuple[str, ...],
    imported: dict[str, Distribution],
) -> _Package | None:
    owner = next((imported[o] for o in owners if o in imported), None)
    for site_dir in site_dirs:
        folder = posixpath.join(site_dir, *name.split("."))
        if is_file(system, posixpath.join(folder, "__init__.py")) or is_file(
            system, posixpath.join(folder, "version.py")
        ):
            return _Package(system, name, owner, folder, site_dir)
    return _Package(system, name, owner, None, owner.site_dir) if owner else None


def _without_files(package: _Package) -> Build:
    why = Unknown(f"{package.name}: its files are not in the folders on the path")
    return package.build(why, why, why, why, why)


# --- torch -----------------------------------------------------------------------------------------------------------


def _look_torch(package: _Package) -> Build:
    system = package.system
    path = package.path("version.py")
    try:
        constants = read_constants(system, path)
    except NotThere:
        constants = f"{path}: no such file"
    if isinstance(constants, str):
        why = Unknown(constants)
        return package.build(why, _torch_gpu(package, {}) or why, why, _torch_cudnn(package), _torch_code(package))
    version = constants.get("__version__")
    gpu = _torch_gpu(package, constants) or Unknown(f"{path}: names neither CUDA nor its absence")
    built_with = constants.get("cuda")
    cuda: Fact[str] = Present(built_with) if isinstance(built_with, str) else Absent((path,))
    if gpu == Present(value=False):
        return package.build(_text(version, path), gpu, cuda, Absent((path,)), Absent((path,)))
    return package.build(_text(version, path), gpu, cuda, _torch_cudnn(package), _torch_code(package))


def _text(value: object, path: str) -> Fact[str]:
    return Present(value) if isinstance(value, str) and value else Unknown(f"{path}: names no version")


def _torch_gpu(package: _Package, constants: dict[str, object]) -> Fact[bool] | None:
    libraries = ("libtorch_cuda.so", "torch_cuda.dll", "libtorch_hip.so")
    if any(is_file(package.system, package.path("lib", library)) for library in libraries):
        return Present(value=True)
    if "cuda" in constants and constants["cuda"] is None:
        return Present(value=isinstance(constants.get("hip"), str))
    return None


def _torch_cudnn(package: _Package) -> Fact[str]:
    """Return the cuDNN that torch's own metadata pins."""
    requires = package.distribution.requires if package.distribution else ()
    for requirement in requires:
        if match := _CUDNN_PIN.match(requirement):
            return Present(match.group(1))
    return _windows_cudnn(package.system, package.path("lib")) or Unknown("torch's metadata pins no cuDNN")


def _windows_cudnn(system: ReadSystem, folder: str) -> Fact[str] | None:
    if system.os_name != "windows":
        return None
    matches = (_WINDOWS_CUDNN.fullmatch(name) for name in names_in(system, folder))
    return next((Present(m.group(1)) for m in matches if m), None)


def _torch_code(package: _Package) -> Fact[tuple[str, ...]]:
    flags = read_arch_flags(package.system, package.path("lib", "libtorch_python.so"))
    if isinstance(flags, Present):
        return flags
    code = read_architectures(package.system, package.path("lib", "libtorch_cuda.so"))
    return code if isinstance(code, Present) else flags


# --- ctranslate2 -----------------------------------------------------------------------------------------------------


def _look_ctranslate2(package: _Package) -> Build:
    system = package.system
    version_file = package.path("version.py")
    version = _text(constants_or_none(system, version_file).get("__version__"), version_file)
    if system.os_name == "macos":
        return package.build(version, Present(value=False), Absent(), Absent(), Absent())
    library = _ct2_library(package)
    if library is None:
        cudnn = _windows_cudnn(system, package.path())
        why = Unknown("its library is not beside it")
        return package.build(version, Present(value=True) if cudnn else why, why, cudnn or why, why)
    gpu = has_gpu_code(system, library)
    if gpu == Present(value=False):
        return package.build(version, gpu, Absent((library,)), Absent((library,)), Absent((library,)))
    cuda = Unknown("its files do not name the CUDA version of the build")
    return package.build(version, gpu, cuda, _ct2_cudnn(package, library), read_architectures(system, library))


def _ct2_library(package: _Package) -> str | None:
    """Return libctranslate2 as the wheel bundles it."""
    for folder in (posixpath.join(package.site_dir, "ctranslate2.libs"), package.path(), package.path("lib")):
        for name in names_in(package.system, folder):
            if _CT2_LIBRARY.match(name):
                return posixpath.join(folder, name)
    return None


def _ct2_cudnn(package: _Package, library: str) -> Fact[str]:
    """Return the version of the cuDNN dispatch library that the wheel bundles, or of the one it links."""
    folder = posixpath.dirname(library)
    matches = (_CUDNN_SHIM.fullmatch(name) for name in names_in(package.system, folder))
    shim = next((m.group(1) for m in matches if m), None)
    if shim:
        return Present(shim)
    linked = _linked_versions(package.system, library)
    if isinstance(linked, Unknown):
        return linked
    return Present(linked["cudnn"]) if "cudnn" in linked else Absent((folder, library))


def _linked_versions(system: ReadSystem, library: str) -> dict[str, str] | Unknown:
    """Return the major versions of the CUDA libraries that a shared object links, by their stem."""
    try:
        needed = read_elf(system, library).needed
    except (NotThere, CannotLook, ElfError) as error:
        return Unknown(f"{library}: {error}")
    return {m.group(1): m.group(2) for name in needed if (m := _NEEDED_VERSION.fullmatch(name))}


# --- onnxruntime -----------------------------------------------------------------------------------------------------


def _look_onnxruntime(package: _Package) -> Build:
    system = package.system
    info = constants_or_none(system, package.path("capi", "build_and_package_info.py"))
    version = info.get("__version__") or _ort_version(package)
    version_fact = _text(version, package.path())
    provider = _ort_provider(package)
    # The GPU wheel's provider stays behind when the CPU wheel is installed over it; nothing will open it then.
    cpu_only = "onnxruntime" in (info.get("package_name"), package.distribution and package.distribution.name)
    if provider is None or cpu_only:
        nowhere = Absent((package.path("capi"),))
        return package.build(version_fact, Present(value=False), nowhere, nowhere, nowhere)
    gpu: Fact[bool] = Present(value=True)
    cuda = info.get("cuda_version")
    linked = _linked_versions(system, provider) if provider.endswith(".so") else Unknown("not an ELF file")
    return package.build(
        version_fact,
        gpu if kind_of(system, provider) == "file" else Unknown(f"{provider}: not a regular file"),
        Present(cuda) if isinstance(cuda, str) and cuda else _linked(linked, "cudart", "cublas"),
        _linked(linked, "cudnn"),
        read_architectures(system, provider),
    )


def _ort_provider(package: _Package) -> str | None:
    names = ("libonnxruntime_providers_cuda.so", "onnxruntime_providers_cuda.dll")
    paths = (package.path("capi", name) for name in names)
    return next((p for p in paths if kind_of(package.system, p) is not None), None)


def _ort_version(package: _Package) -> object:
    """Return the version in `__init__.py`, else in the file name of the library."""
    version = constants_or_none(package.system, package.path("__init__.py")).get("__version__")
    if isinstance(version, str):
        return version
    matches = (_ORT_LIBRARY.fullmatch(name) for name in names_in(package.system, package.path("capi")))
    return next((m.group(1) for m in matches if m), None)


def _linked(linked: dict[str, str] | Unknown, *stems: str) -> Fact[str]:
    if isinstance(linked, Unknown):
        return linked
    found = next((linked[s] for s in stems if s in linked), None)
    return Present(found) if found else Unknown("its CUDA provider links none")


# --- packages whose version is enough --------------------------------------------------------------------------------


def _look_tagged(package: _Package) -> Build:
    """Judge torchaudio and its like by the local version: `2.8.0+cpu`, `2.8.0+cu128`."""
    version = _own_version(package)
    text = value_of(version) or (value_of(package.distribution.version) if package.distribution else None) or ""
    _, _, tag = text.partition("+")
    if match := _LOCAL_CUDA.match(tag):
        return package.build(version, Present(value=True), Present(f"{match.group(1)}.{match.group(2)}"))
    if tag.startswith("cpu"):
        return package.build(version, Present(value=False))
    if tag.startswith("rocm"):
        return package.build(version, Present(value=True))
    library = _tagged_library(package)
    if library is None:
        why = Unknown("its version carries no build tag, and it has no library that would tell")
        return package.build(version, why, why)
    linked = _linked_versions(package.system, library)
    if isinstance(linked, Unknown):
        return package.build(version, linked, linked)
    if "cudart" not in linked:
        return package.build(version, Present(value=False))
    return package.build(version, Present(value=True), Present(linked["cudart"]))  # the major version only


def _tagged_library(package: _Package) -> str | None:
    """Return a library of a package whose version carries no build tag: of conda, or for the CPU alone."""
    for folder in (package.path("lib"), package.path()):
        for name in sorted(names_in(package.system, folder)):
            if _TAGGED_LIBRARY.match(name):
                return posixpath.join(folder, name)
    return None


def _look_pure(package: _Package) -> Build:
    """Report a package without native code of its own: no GPU facts, on purpose."""
    return package.build(_own_version(package))


def _own_version(package: _Package) -> Fact[str]:
    for file in ("version.py", "_version.py"):
        version = constants_or_none(package.system, package.path(file)).get("__version__")
        if isinstance(version, str) and version:
            return Present(version)
    return package.distribution.version if package.distribution else Unknown("its files name no version")


_Look = Callable[[_Package], Build]
_LOOKS: dict[str, tuple[tuple[str, ...], _Look]] = {
    "torch": (("torch",), _look_torch),
    "torchaudio": (("torchaudio",), _look_tagged),
    "torchvision": (("torchvision",), _look_tagged),
    "torchcodec": (("torchcodec",), _look_tagged),
    "ctranslate2": (("ctranslate2",), _look_ctranslate2),
    "onnxruntime": (
        ("onnxruntime-gpu", "onnxruntime", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm"),
        _look_onnxruntime,
    ),
    "faster_whisper": (("faster-whisper",), _look_pure),
    "whisperx": (("whisperx",), _look_pure),
    "pyannote.audio": (("pyannote-audio",), _look_pure),
}

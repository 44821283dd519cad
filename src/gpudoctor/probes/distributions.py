"""Installed distributions, from the names in the site folders: METADATA is opened only where a name is not enough.

Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/ (2026-11-20).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import msgspec

from gpudoctor.model.environment import Distribution
from gpudoctor.model.fact import Fact, Present, Unknown
from gpudoctor.probes.paths import absolute, names_in
from gpudoctor.probes.text import shown
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, read_text

_METADATA_LIMIT_BYTES = 256 << 10
_SMALL_LIMIT_BYTES = 64 << 10
_SEPARATORS = re.compile(r"[-_.]+")
_VERSION = re.compile(r"v?[0-9][A-Za-z0-9.!+_-]*")
_REQUIRED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_GPU_NAME = re.compile(
    r"nvidia-.*|(py)?torch.*|triton.*|ctranslate2|onnxruntime.*|faster-whisper|whisperx|whisper.*|openai-whisper|"
    r"pyannote-.*|tensorrt.*|cupy-.*|cuda-.*|tensorflow.*|jax.*|bitsandbytes|flash-attn|vllm"
)
_CONDA_NATIVE = re.compile(
    r"cudnn|libcudnn.*|cudatoolkit|cuda-.*|libcu(blas|fft|rand|solver|sparse|file).*|libnv.*|nccl|libtorch|pytorch-cuda|"
    r"tensorrt|libctranslate2|onnxruntime-cpp"
)


def canonical_name(name: str) -> str:
    """Return the PEP 503 form of a distribution's name."""
    return _SEPARATORS.sub("-", name).lower()


def is_gpu_name(name: str) -> bool:
    """Tell whether a distribution, by canonical name, has to do with GPUs or their consumers."""
    return _GPU_NAME.fullmatch(name) is not None


def probe_distributions(
    system: ReadSystem, site_dirs: tuple[str, ...], prefix: str | None = None
) -> tuple[Distribution, ...]:
    """Return the installed distributions, in sys.path order; the first of a name is the one imported.

    Args:
        system: The machine.
        site_dirs: Folders to look in, in order.
        prefix: The environment's root: for the native packages of a conda environment.

    Returns:
        All of them, those that an earlier one hides included. Nothing about a machine's state makes this raise.
    """
    found: dict[str, Distribution] = {}
    for site_dir in site_dirs:
        for distribution in _in_folder(system, site_dir):
            found.setdefault(distribution.metadata_path, distribution)
    for distribution in _conda_packages(system, prefix) if prefix else ():
        found.setdefault(distribution.metadata_path, distribution)
    return tuple(found.values())


def _in_folder(system: ReadSystem, site_dir: str) -> Iterator[Distribution]:
    names = names_in(system, site_dir)
    hints = " ".join(canonical_name(n) for n in names if n.endswith(".pth"))
    for name in names:
        if name.startswith("~"):  # what pip left of an interrupted removal
            continue
        if name.endswith((".dist-info", ".egg-info")):
            yield _from_entry(system, site_dir, name, hints)
        elif name.endswith(".egg-link"):
            yield from _from_egg_link(system, site_dir, name)
        elif name == "EGG-INFO":  # the folder is an unpacked egg
            yield _from_egg(system, site_dir)


def _from_entry(system: ReadSystem, site_dir: str, entry: str, hints: str) -> Distribution:
    path = posixpath.join(site_dir, entry)
    stem, _, _ = entry.rpartition(".")
    name, version = _split_stem(stem, egg=entry.endswith(".egg-info"))
    canonical = canonical_name(name)
    editable = None
    if entry.endswith(".dist-info") and (canonical in hints or is_gpu_name(canonical)):
        editable = _editable(system, path)
    if version is not None and not is_gpu_name(canonical):
        return Distribution(
            name=canonical, version=Present(version), site_dir=site_dir, metadata_path=path, editable=editable
        )
    return _from_metadata(system, site_dir, path, name, editable)


def _split_stem(stem: str, *, egg: bool) -> tuple[str, str | None]:
    """Return name and version in `name-version[-pyX.Y[-platform]]`; no version where the parts are ambiguous."""
    parts = stem.split("-")
    if egg and len(parts) > 2 and parts[2].startswith("py"):
        parts = parts[:2]
    if len(parts) == 2 and _VERSION.fullmatch(parts[1]):
        return parts[0], parts[1]
    name = "-".join(p for p in parts[:-1] if p) if len(parts) > 1 and _VERSION.fullmatch(parts[-1]) else stem
    return name, None


def _from_metadata(
    system: ReadSystem, site_dir: str, path: str, fallback_name: str, editable: str | None
) -> Distribution:
    headers = _headers(system, path)
    version: Fact[str] = Unknown(headers if isinstance(headers, str) else f"{shown(path)}: names no version")
    fields = () if isinstance(headers, str) else headers
    values = dict(fields)
    if _VERSION.fullmatch(values.get("version", "")):
        version = Present(values["version"])
    name = values.get("name") or fallback_name
    requires = tuple(value for key, value in fields if key == "requires-dist" and _is_pin_that_matters(value))
    return Distribution(
        name=canonical_name(name),
        version=version,
        site_dir=site_dir,
        metadata_path=path,
        editable=editable,
        requires=requires,
    )


def _is_pin_that_matters(requirement: str) -> bool:
    match = _REQUIRED_NAME.match(requirement)
    return match is not None and is_gpu_name(canonical_name(match.group())) and len(requirement) < 1000


def _headers(system: ReadSystem, path: str) -> tuple[tuple[str, str], ...] | str:
    """Return the header fields of a distribution's metadata, or one clause that says why they cannot be read."""
    files = ("METADATA",) if path.endswith(".dist-info") else ("PKG-INFO", "")
    for file in files:
        try:
            text = read_text(system, posixpath.join(path, file) if file else path, _METADATA_LIMIT_BYTES)
        except NotThere:
            continue
        except CannotLook as error:
            return error.reason
        return _parse_headers(text)
    return f"{path}: no {files[0]}"


def _parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    for line in text.splitlines():
        if not line:
            break
        key, colon, value = line.partition(":")
        if colon and not key.startswith((" ", "\t")):
            found.append((key.lower(), value.strip()))
    return tuple(found)


class _DirInfo(msgspec.Struct):
    editable: bool = False


class _DirectUrl(msgspec.Struct):
    url: str = ""
    dir_info: _DirInfo | None = None


def _editable(system: ReadSystem, path: str) -> str | None:
    """Return the project folder of an editable install, from direct_url.json (PEP 610)."""
    try:
        raw = system.read_bytes(posixpath.join(path, "direct_url.json"), _SMALL_LIMIT_BYTES)
        direct = msgspec.json.decode(raw, type=_DirectUrl)
    except (NotThere, CannotLook, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if direct.dir_info is None or not direct.dir_info.editable or not direct.url.startswith("file://"):
        return None
    return _unquoted(direct.url[len("file://") :])


def _unquoted(path: str) -> str:
    """Return a URL's path with its percent signs resolved, without the milliseconds of urllib.parse."""
    raw = _PERCENT.sub(lambda m: bytes((int(m.group(1), 16),)), path.encode("utf-8", "surrogatepass"))
    return raw.decode("utf-8", "surrogateescape")


def _from_egg_link(system: ReadSystem, site_dir: str, entry: str) -> Iterator[Distribution]:
    """Yield the project that `setup.py develop` linked: the first line of the file is its folder."""
    try:
        lines = read_text(system, posixpath.join(site_dir, entry), _SMALL_LIMIT_BYTES).splitlines()
    except (NotThere, CannotLook):
        return
    if not lines or not lines[0].strip():
        return
    folder = absolute(system, lines[0].strip(), site_dir)
    name = entry[: -len(".egg-link")]
    info = posixpath.join(folder, f"{_SEPARATORS.sub('_', name)}.egg-info")
    yield _from_metadata(system, folder, info, name, folder)


def _from_egg(system: ReadSystem, site_dir: str) -> Distribution:
    name, _ = _split_stem(posixpath.basename(site_dir).removesuffix(".egg"), egg=True)
    return _from_metadata(system, site_dir, posixpath.join(site_dir, "EGG-INFO"), name, None)


def _conda_packages(system: ReadSystem, prefix: str) -> Iterator[Distribution]:
    """Yield the native GPU packages of a conda environment, from the names of their records."""
    folder = posixpath.join(prefix, "conda-meta")
    for entry in names_in(system, folder):
        name, _, rest = entry.removesuffix(".json").rpartition("-")[0].rpartition("-")
        if entry.endswith(".json") and name and _CONDA_NATIVE.fullmatch(canonical_name(name)):
            known = _VERSION.fullmatch(rest) is not None
            yield Distribution(
                name=canonical_name(name),
                version=Present(rest) if known else Unknown(f"{shown(entry)}: no version in the name"),
                site_dir=posixpath.join(prefix, "lib"),
                metadata_path=posixpath.join(folder, entry),
            )

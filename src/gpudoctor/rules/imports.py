"""GPD207, GPD208, GPD209, GPD702: consumers whose libraries fail for want of something that is no GPU library."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import value_of
from gpudoctor.model.finding import Evaluation, Evidence, Fix, Level, NotApplicable, Open, Pass
from gpudoctor.model.loading import ImportFault
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.libraries import condensed, no_loader
from gpudoctor.rules.misses import is_unreached
from gpudoctor.rules.pages import imports as pages
from gpudoctor.rules.reading import consumer_subject, evidence, is_installed, label, unique
from gpudoctor.rules.remedies import pip_command, reinstall_fix

_C_LIBRARY = re.compile(r"(libc|libm|libdl|librt|libpthread|ld-linux-[a-z0-9-]+)\.so\.\d+")
_CXX_LIBRARY = re.compile(r"(libstdc\+\+|libgcc_s)\.so\.\d+")
_NO_CAUSE = "none of the taxonomy's causes fits a library that is no GPU library"
_FFMPEG = re.compile(r"lib(av(util|codec|format|device|filter)|sw(scale|resample))\.so")

Faults = tuple[ImportFault, ...]


def _faults(snapshot: Snapshot) -> Faults:
    """Return one fault for each consumer, group and library: a process alone before one that imported torch."""
    found: dict[tuple[str, str | None, str], ImportFault] = {}
    for fault in sorted(snapshot.import_faults, key=lambda f: f.scenario):
        found.setdefault((fault.consumer, fault.group, fault.culprit), fault)
    return tuple(found.values())


def _kind(fault: ImportFault) -> str:
    if fault.failure == "exec-stack":
        return "GPD208"
    if fault.failure == "symbol-version" and (_C_LIBRARY.match(fault.culprit) or _CXX_LIBRARY.match(fault.culprit)):
        return "GPD207"
    return "GPD702" if fault.group == "ffmpeg" and _FFMPEG.match(fault.culprit) else "GPD209"


def _evaluate(rule: Rule, snapshot: Snapshot, judge: Callable[[ImportFault], Evaluation]) -> tuple[Evaluation, ...]:
    ours = tuple(f for f in _faults(snapshot) if _kind(f) == rule.id)
    if ours:
        return tuple(
            Open(
                f"{f.consumer}: {f.culprit} was not found, but not every place could be searched: {f.doubt}", f.consumer
            )
            if f.doubt
            else judge(f)
            for f in ours
        )
    if (answer := no_loader(snapshot)) is not None:
        return answer
    if blind := _not_emulated(snapshot):
        return (blind,)
    return (Pass(),)


def _not_emulated(snapshot: Snapshot) -> Open | None:
    """Return why no import was judged at all; None where one was."""
    if any(r.outcome != "unknown" or is_unreached(r) for r in snapshot.resolutions):
        return None
    consumer, reason = snapshot.resolutions[0].consumer, snapshot.resolutions[0].reason
    return Open(f"whether {consumer} can be imported is not known: {reason or 'could not look'}", consumer)


# --- GPD207 ----------------------------------------------------------------------------------------------------------


def _old_library(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    return _evaluate(system_library_too_old, snapshot, lambda f: _too_old(snapshot, matrix, f))


def _too_old(snapshot: Snapshot, matrix: Matrix, fault: ImportFault) -> Evaluation:
    cxx = _CXX_LIBRARY.match(fault.culprit) is not None
    title = "C++ library" if cxx else "C library (glibc)"
    version = re.search(r"`([^']+)'", fault.reason)
    wanted = version[1].replace("_", " ") if version else "a newer version"
    place = _found(fault)
    return system_library_too_old.fail(
        consumer_subject(fault.consumer),
        f"{label(snapshot, matrix, fault.consumer)} needs {wanted}, but the {title} that its process gets "
        f"({place or fault.culprit}) is older: {_fate(fault)}.",
        cause="libstdcxx-too-old" if cxx else "glibc-too-old",
        evidence=_evidence(fault, ("wanted", wanted), ("found", place)),
        fixes=_newer_cxx(snapshot, fault) if cxx else (_newer_system(fault),),
    )


def _found(fault: ImportFault) -> str | None:
    path = fault.reason.partition(": version")[0]
    return path if path.startswith("/") else None


def _newer_cxx(snapshot: Snapshot, fault: ImportFault) -> tuple[Fix, ...]:
    interpreter = value_of(snapshot.interpreter)
    place = _found(fault) or ""
    if interpreter and place.startswith(f"{interpreter.prefix}/"):
        where = shlex.quote(interpreter.prefix)
        command = f"conda update --prefix {where} libstdcxx-ng" if interpreter.kind == "conda" else None
        title = f"Renew the {fault.culprit} of this environment, which hides the system's"
        return (Fix(title=title, applicability="unsafe", commands=(command,) if command else ()),)
    if snapshot.search_elements:
        folder = posixpath.dirname(place) or "the folder that holds it"
        return (Fix(title=f"Take {folder} out of LD_LIBRARY_PATH before the process starts", applicability="unsafe"),)
    return (Fix(title=f"Update the system's {fault.culprit}: a newer release of it", applicability="display-only"),)


def _newer_system(fault: ImportFault) -> Fix:
    return Fix(
        title=f"Use a newer system or container image, or install an older release of {fault.consumer}: no package "
        "can replace the C library of a system",
        applicability="display-only",
    )


# --- GPD208 ----------------------------------------------------------------------------------------------------------


def _stack(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    return _evaluate(executable_stack, snapshot, lambda f: _refused(snapshot, matrix, f))


def _refused(snapshot: Snapshot, matrix: Matrix, fault: ImportFault) -> Evaluation:
    libc = value_of(snapshot.host.libc)
    version = value_of(libc.version) if libc else None
    return executable_stack.fail(
        consumer_subject(fault.consumer),
        f"{label(snapshot, matrix, fault.consumer)} brings a library that asks for an executable stack "
        f"({fault.culprit}), and this system's C library{f', glibc {version},' if version else ''} refuses that: "
        f"{_fate(fault)}.",
        cause="exec-stack",
        evidence=_evidence(fault, ("glibc", version), ("file", fault.reason.partition(" asks for")[0])),
        fixes=_without_stack(snapshot, fault),
    )


def _without_stack(snapshot: Snapshot, fault: ImportFault) -> tuple[Fix, ...]:
    allow = Fix(
        title="Or let this one process have one: start it with GLIBC_TUNABLES=glibc.rtld.execstack=2 set",
        applicability="display-only",
        commands=("export GLIBC_TUNABLES=glibc.rtld.execstack=2",),
    )
    if fault.consumer != "ctranslate2":
        return (Fix(title=f"Install a newer {fault.consumer}", applicability="display-only"), allow)
    command = pip_command(snapshot, '"ctranslate2>=4.6"')
    newer = Fix(
        title="Install ctranslate2 4.6.0 or newer, whose library asks for none",
        applicability="unsafe",
        commands=(command,),
    )
    return (newer, allow)


# --- GPD209 ----------------------------------------------------------------------------------------------------------


def _import(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    return _evaluate(import_fails, snapshot, lambda f: _fails(snapshot, matrix, f))


def _fails(snapshot: Snapshot, matrix: Matrix, fault: ImportFault) -> Evaluation:
    missing = fault.failure == "missing"
    why = f"{fault.culprit}, which it links, is not found" if missing else fault.reason
    return import_fails.fail(
        consumer_subject(fault.consumer),
        f"{label(snapshot, matrix, fault.consumer)} cannot be loaded: {why}; {_fate(fault)}.",
        cause=None,
        reason=_NO_CAUSE,
        evidence=_evidence(fault, ("file", fault.file), ("wanted", fault.culprit), ("reason", fault.reason)),
        fixes=(_replace(snapshot, fault),),
    )


def _replace(snapshot: Snapshot, fault: ImportFault) -> Fix:
    if fault.failure == "missing":
        title = f"Install what brings {fault.culprit}: a system package, or the package that lost the file"
        return Fix(title=title, applicability="display-only")
    build = snapshot.build(fault.consumer)
    return reinstall_fix(snapshot, build.distribution if build else None, fault.file)


# --- GPD702 ----------------------------------------------------------------------------------------------------------


def _codec(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    ours = tuple(f for f in _faults(snapshot) if _kind(f) == "GPD702")
    if not ours and not is_installed(snapshot, "torchcodec"):
        return (NotApplicable("torchcodec is not installed"),)
    return _evaluate(torchcodec_without_ffmpeg, snapshot, lambda f: _no_ffmpeg(snapshot, matrix, f))


def _no_ffmpeg(snapshot: Snapshot, matrix: Matrix, fault: ImportFault) -> Evaluation:
    # whisperX reads the audio with the program ffmpeg and hands the samples on: torchcodec is never asked.
    level: Level = "warning" if is_installed(snapshot, "whisperx") else "error"
    return torchcodec_without_ffmpeg.fail(
        consumer_subject(fault.consumer),
        f"{label(snapshot, matrix, fault.consumer)} can decode nothing: it finds the shared libraries of no FFmpeg "
        f"release that it was built for ({fault.culprit} and its like).",
        cause="torchcodec-load",
        level=level,
        evidence=_evidence(fault, ("wanted", fault.culprit), ("for", posixpath.basename(fault.file))),
        consequences=_users(snapshot),
        fixes=_ffmpeg(snapshot),
    )


def _users(snapshot: Snapshot) -> tuple[str, ...]:
    users = unique(d.name for d in snapshot.distributions if any(r.startswith("torchcodec") for r in d.requires))
    return tuple(f"{name} reads audio files with torchcodec" for name in users if name != "whisperx")


def _ffmpeg(snapshot: Snapshot) -> tuple[Fix, ...]:
    interpreter = value_of(snapshot.interpreter)
    if interpreter and interpreter.kind == "conda":
        command = f'conda install --prefix {shlex.quote(interpreter.prefix)} "ffmpeg<9"'
    else:
        command = "sudo apt-get install ffmpeg"
    return (
        Fix(
            title="Install an FFmpeg with shared libraries (a static ffmpeg program does not do)",
            applicability="display-only",
            commands=(command,),
        ),
    )


# --- shared ----------------------------------------------------------------------------------------------------------


def _fate(fault: ImportFault) -> str:
    if fault.group:
        return f"{fault.consumer} will not work"
    by_import = re.search(r"/site-packages/|/dist-packages/", fault.file)
    return f"`import {fault.consumer}` will fail" if by_import else f"{fault.consumer} will not start"


def _evidence(fault: ImportFault, *pairs: tuple[str, str | None]) -> tuple[Evidence, ...]:
    return evidence(*pairs, ("searched", condensed(fault.searched)))


system_library_too_old = Rule(
    id="GPD207",
    name="system-library-too-old",
    title="The C or C++ library that the process gets is older than a consumer needs",
    level="error",
    causes=("glibc-too-old", "libstdcxx-too-old"),
    page=pages.GPD207,
    evaluate=_old_library,
)
executable_stack = Rule(
    id="GPD208",
    name="executable-stack",
    title="A library asks for an executable stack, and the C library refuses",
    level="error",
    causes=("exec-stack",),
    page=pages.GPD208,
    evaluate=_stack,
)
import_fails = Rule(
    id="GPD209",
    name="import-fails",
    title="A consumer cannot be loaded for want of a library that is no GPU library",
    level="error",
    causes=(),
    page=pages.GPD209,
    evaluate=_import,
)
torchcodec_without_ffmpeg = Rule(
    id="GPD702",
    name="torchcodec-without-ffmpeg",
    title="torchcodec finds no shared libraries of an FFmpeg that it works with",
    level="error",
    causes=("torchcodec-load",),
    page=pages.GPD702,
    evaluate=_codec,
)

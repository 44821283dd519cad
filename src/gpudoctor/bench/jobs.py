"""Jobs for the benchmark's child: what it is told, what it tells, and how each came to its end."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping

import msgspec

from gpudoctor.canary.run import BOOT
from gpudoctor.model.bench import Stage
from gpudoctor.system import children
from gpudoctor.system.worker import Worker, WorkerEnding, own_pid

_STAGES: tuple[Stage, ...] = ("start", "import", "model", "audio", "load", "warm-up", "run", "outputs")


class Event(msgspec.Struct, frozen=True):
    """One document of the child, whichever kind; the fields are those of the kinds together.

    Attributes:
        event: Kind: `begun`, `versions`, `types`, `unknown`, `fetched`, `making`, `imported`, `audio`, `loaded`, `run`,
            `text`, `compared`, `failed`, `end`.
    """

    event: str
    stage: str | None = None
    s: float = 0.0
    waited_s: float = 0.0
    kind: str | None = None
    tokens: int = 0
    audio_s: float = 0.0
    text: str = ""
    python: str | None = None
    ctranslate2: str | None = None
    faster_whisper: str | None = None
    model_format: str | None = None
    usable_cpus: int | None = None
    types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    path: str | None = None
    part: str | None = None
    done: int = 0
    total: int = 0
    number: int = 0
    encoder_error: float | None = None
    log_prob_error: float | None = None
    tokens_equal: float | None = None
    peak_rss_bytes: int | None = None
    message: str = ""
    type: str | None = None
    kinds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


class JobResult(msgspec.Struct, frozen=True):
    """How a job went.

    Attributes:
        events: What the child told, in order.
        ending: How it ended.
        pid: Its process id.
    """

    events: tuple[Event, ...]
    ending: WorkerEnding
    pid: int = 0

    def first(self, kind: str) -> Event | None:
        """Return the first event of a kind."""
        return next((e for e in self.events if e.event == kind), None)

    def all(self, kind: str) -> tuple[Event, ...]:
        """Return all events of a kind."""
        return tuple(e for e in self.events if e.event == kind)

    @property
    def succeeded(self) -> bool:
        """Whether it came to its end."""
        return self.first("end") is not None

    @property
    def stage(self) -> Stage:
        """What it had begun last."""
        begun = [e.stage for e in self.events if e.event == "begun"]
        return next((s for s in _STAGES if begun and s == begun[-1]), "start")


class Shop(msgspec.Struct, frozen=True):
    """Where jobs are done.

    Attributes:
        executable: Interpreter of the target.
        environment: All variables that it starts with.
        step_limit_s: Most seconds that one step may take.
    """

    executable: str
    environment: Mapping[str, str]
    step_limit_s: float

    def do(
        self,
        job: Mapping[str, object],
        on_event: Callable[[Event], None] | None = None,
        *,
        limit_s: float | None = None,
    ) -> JobResult:
        """Do a job in a child and return how it went; nothing that the child does makes this raise.

        Args:
            job: What to do; `job` names it.
            on_event: Told of each event as it comes.
            limit_s: Another limit for a step of it.

        Raises:
            CannotLook: The interpreter cannot be started.
        """
        events: list[Event] = []
        decoder = msgspec.json.Decoder(Event)

        def heard(line: bytes) -> bool:
            try:
                event = decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return False
            events.append(event)
            if on_event is not None:
                on_event(event)
            return True

        worker = Worker(_argv(self.executable, job), self.environment)
        ending = worker.follow(heard, limit_s or self.step_limit_s)
        return JobResult(tuple(events), ending, worker.pid)


def _argv(executable: str, job: Mapping[str, object]) -> tuple[str, ...]:
    program = posixpath.join(posixpath.dirname(children.__file__), "bench_worker.py")
    # Not msgspec: a path that is not UTF-8 holds lone surrogates, which only the standard library writes and reads.
    return (executable, "-B", "-c", BOOT, program, json.dumps({**job, "parent": own_pid()}))

"""Library files, and what the dynamic loader answers who asks for them."""

from __future__ import annotations

from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.fact import Absent, Fact

Scenario = Literal["alone", "after-torch"]
Outcome = Literal["present", "absent", "unknown"]
Link = Literal["needed", "dlopen"]
FoundVia = Literal[
    "already-loaded",
    "rpath",
    "ld-library-path",
    "runpath",
    "ld-cache",
    "default",
    "absolute",
    "preload",
]
Failure = Literal[
    "missing",
    "not-elf",
    "truncated",
    "not-regular",
    "unloadable",
    "symbol-version",
    "undefined-symbol",
    "exec-stack",
]
# How the reason of an unknown answer begins where the consumer never gets as far as asking.
NOT_REACHED = "not reached"


class ElfFacts(Frozen, frozen=True, kw_only=True):
    """Header and dynamic section of one shared object.

    Attributes:
        elf_class: 32 or 64.
        machine: Architecture name.
        soname: DT_SONAME.
        needed: DT_NEEDED in order.
        rpath: DT_RPATH.
        runpath: DT_RUNPATH.
        build_id: GNU build id, hexadecimal.
    """

    elf_class: int
    machine: str
    soname: str | None
    needed: tuple[str, ...]
    rpath: str | None
    runpath: str | None
    build_id: str | None


class Library(Frozen, frozen=True, kw_only=True):
    """A GPU library file, loaded by somebody or merely lying about.

    Attributes:
        path: The path as the loader would open it.
        real_path: The file behind its links.
        family: `cudnn`, `cublas`, `cudart`, `nvrtc`, ….
        size_bytes: Size of the file.
        version: Its version, as closely as files tell.
        version_source: Where that came from: `file-name`, `distribution`, or `directory`.
        owner: Canonical name of the distribution that installed it.
        elf: What its header says.
        recorded_bytes: Size that its owner recorded when it was installed; absent where it recorded none.
        links: Names that a file has whose size is not the recorded one: an installer that links from its cache gives
            one file to many environments. Not counted (1) for all others.
    """

    path: str
    real_path: str
    family: str
    size_bytes: int
    version: Fact[str]
    version_source: str | None
    owner: str | None
    elf: Fact[ElfFacts]
    recorded_bytes: Fact[int] = Absent()
    links: int = 1


class SearchStep(Frozen, frozen=True, kw_only=True):
    """One place the loader tried.

    Attributes:
        rule: The search rule, with its owner where several have one (`rpath of _ext.so`).
        path: The file tried.
        result: `found`, `missing`, `wrong-machine`, `wrong-class`, `not-elf`, `unreadable`, ….
    """

    rule: str
    path: str
    result: str


class Resolution(Frozen, frozen=True, kw_only=True):
    """What the loader will answer when one consumer asks for one library.

    Attributes:
        consumer: Who asks (`ctranslate2`, `torch`, `onnxruntime`, a binary's name).
        scenario: In a process of its own, or after torch was imported.
        requester: File name of the object on whose behalf it is opened.
        soname: The name that decides: the one that was found, or the first one tried.
        names: Every name the requester tries, in order.
        family: Library family.
        role: Stable name of this opening within the consumer (`cudnn_ops`); the same in every environment.
        link: `needed` (DT_NEEDED) or `dlopen` (by name, while running).
        when: When it is opened, in words (`at import`, `at the first convolution`).
        outcome: Whether it will load.
        path: The file.
        found_via: The search rule that chose it.
        failure: Why it will not load.
        culprit: The SONAME really at fault when that is a dependency (`libcublasLt.so.12`).
        reason: One clause for people.
        searched: Every place tried, in order.
        shadowed: The file that would be loaded with LD_LIBRARY_PATH unset, when that is another file.
        fact: Id of the matrix fact that says that this consumer opens it, if one does.
        assumed: True when no more than a name in the requester's file says that it is opened: it may be one of several
            ways, or never happen.
    """

    consumer: str
    scenario: Scenario
    requester: str
    soname: str
    names: tuple[str, ...]
    family: str
    role: str
    link: Link
    when: str
    outcome: Outcome
    path: str | None = None
    found_via: FoundVia | None = None
    failure: Failure | None = None
    culprit: str | None = None
    reason: str | None = None
    searched: tuple[SearchStep, ...] = ()
    shadowed: str | None = None
    fact: str | None = None
    assumed: bool = False


class ImportFault(Frozen, frozen=True, kw_only=True):
    """Why importing a consumer fails, where no GPU library is at fault.

    Attributes:
        consumer: Import name.
        scenario: In a process of its own, or after torch was imported.
        file: The file of the consumer that was to be loaded.
        failure: What the loader says.
        culprit: The library at fault: the one that is missing, or that lacks a symbol version.
        reason: One clause for people.
        group: Name of the alternatives of which none loads; None for a file that has no alternative.
        doubt: Why the culprit may be found all the same, where a place could not be searched.
        searched: Every place tried for the culprit, in order.
    """

    consumer: str
    scenario: Scenario
    file: str
    failure: Failure
    culprit: str
    reason: str
    group: str | None = None
    doubt: str | None = None
    searched: tuple[SearchStep, ...] = ()

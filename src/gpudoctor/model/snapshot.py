"""The snapshot: everything the probes learnt about a machine and one Python environment.

It is immutable, it is one JSON file, and it is all that rules see: a snapshot taken on one machine is judged the same
way on any other. Paths are those of the machine it was taken on (after redaction: with the home folder masked).
"""

from __future__ import annotations

from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.environment import Build, Distribution, Interpreter, SearchElement, SharedFiles, Variable
from gpudoctor.model.fact import Fact, Unknown
from gpudoctor.model.loading import ImportFault, Library, Resolution
from gpudoctor.model.machine import Driver, Gpu, Host, PlannedModel, Toolkit

SNAPSHOT_SCHEMA_VERSION = 1


class ProbeReport(Frozen, frozen=True, kw_only=True):
    """How one probe went.

    Attributes:
        probe: Its name.
        status: Whether it could look.
        detail: Why not, when it could not.
    """

    probe: str
    status: Literal["ok", "skipped", "timeout", "crashed", "failed"]
    detail: str | None = None


class Snapshot(Frozen, frozen=True, kw_only=True):
    """All facts about one machine and one environment at one moment.

    Attributes:
        schema_version: Version of this document's shape.
        tool_version: gpudoctor's version that took it.
        taken_at: UTC time, ISO 8601.
        redacted: Whether home folders, user and host names and serial numbers were masked.
        host: The machine.
        driver: The NVIDIA driver.
        gpus: The GPUs, when the driver could be asked.
        interpreter: The target interpreter; absent when only a binary is judged.
        distributions: Installed distributions in sys.path order; the first of a name is the one imported.
        shared_files: Files that several distributions claim.
        builds: How GPU packages were built.
        variables: Environment variables that matter, as the judged process will have them.
        search_elements: LD_LIBRARY_PATH taken apart.
        toolkits: CUDA toolkits of the system.
        libraries: GPU library files: the loaded ones, and those nobody will load.
        resolutions: The loader's answers.
        probes: How the probing went.
        import_faults: Consumers whose import fails for want of something that is no GPU library.
        models: Models that are meant to run at the same time, with `--model`.
        ffmpeg: The program ffmpeg, by the PATH of the judged process; not asked for in older snapshots.
        uv: The program uv, beside gpudoctor or on its own PATH: commands that are shown can be typed.
        binary: The native program, library or folder that is judged, with `--binary`.
    """

    schema_version: int
    tool_version: str
    taken_at: str
    redacted: bool
    host: Host
    driver: Driver
    gpus: Fact[tuple[Gpu, ...]]
    interpreter: Fact[Interpreter]
    distributions: tuple[Distribution, ...]
    shared_files: tuple[SharedFiles, ...]
    builds: tuple[Build, ...]
    variables: tuple[Variable, ...]
    search_elements: tuple[SearchElement, ...]
    toolkits: Fact[tuple[Toolkit, ...]]
    libraries: tuple[Library, ...]
    resolutions: tuple[Resolution, ...]
    probes: tuple[ProbeReport, ...]
    models: tuple[PlannedModel, ...] = ()
    import_faults: tuple[ImportFault, ...] = ()
    ffmpeg: Fact[str] = Unknown("not looked for")
    uv: Fact[str] = Unknown("not looked for")
    binary: str | None = None

    def distribution(self, name: str) -> Distribution | None:
        """Return the distribution that `import` would use, by canonical name."""
        return next((d for d in self.distributions if d.name == name), None)

    def build(self, package: str) -> Build | None:
        """Return the build facts of a package, by import name."""
        return next((b for b in self.builds if b.package == package), None)

    def library(self, path: str | None) -> Library | None:
        """Return the library file at a path."""
        return next((x for x in self.libraries if x.path == path), None)

    def variable(self, name: str) -> str | None:
        """Return the value of a recorded environment variable; None when unset."""
        return next((v.value for v in self.variables if v.name == name), None)

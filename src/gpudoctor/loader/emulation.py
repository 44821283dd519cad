"""What all processes of one target share: its files, its ELF interpreter's settings, the cache."""

from __future__ import annotations

from collections.abc import Callable

from gpudoctor.loader.cache import DEFAULT_PATH, FLAGS, read_cache
from gpudoctor.loader.elf import ElfError, ElfObject, read_elf
from gpudoctor.loader.files import Files
from gpudoctor.loader.ldso import LdSoQuestion, is_musl
from gpudoctor.loader.mapped import ProcessSettings
from gpudoctor.loader.process import Process
from gpudoctor.loader.target import Target
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem


class CannotEmulate(GpuDoctorError):
    """The target's loader is none that can be emulated.

    Attributes:
        reason: One clause.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Emulation:
    """The emulated loader of one target, ready to start processes.

    Attributes:
        files: Its files.
        executable: Its executable.
        unknowns: What could not be asked or read, and so may be otherwise than emulated.
        ready: Whether the ELF interpreter has answered; only then is there an `ldso`.
    """

    def __init__(self, system: ReadSystem, target: Target) -> None:
        """Read the executable, and put the question to its ELF interpreter.

        Raises:
            CannotEmulate: No glibc on a known architecture.
        """
        self._system = system
        self._target = target
        self.executable = _read_executable(system, target.executable)
        self.files = Files(system, target.cwd, self.executable.machine)
        self.unknowns: list[str] = list(target.doubts)
        interpreter = self.executable.interpreter
        if interpreter is None:
            raise CannotEmulate(f"{target.executable} is linked statically and loads no libraries")
        self._question = LdSoQuestion(system, interpreter, self.executable.machine, target.prefix, target.environment)
        self._settings = ProcessSettings(target.executable, target.environment, target.secure_execution)
        self.ready = False

    def prepare(self) -> None:
        """Wait for the ELF interpreter's answer and read the cache; done once."""
        if self.ready:
            return
        self.ready = True
        self.ldso = self._question.answer()
        if self.ldso.unknown:
            self.unknowns.append(f"built-in search directories: {self.ldso.unknown}")
        cache = read_cache(self._system, self.ldso.cache_path or DEFAULT_PATH)
        self._index: dict[str, str] = {}
        match cache:
            case Present(value=entries):
                self._index = entries.index(self.executable.machine, self.ldso.hwcaps)
            case Unknown(reason=reason):
                self.unknowns.append(reason)
            case _:
                pass
        if self._target.environment.get("LD_AUDIT"):
            self.unknowns.append("LD_AUDIT is set: an audit library may answer every search otherwise")

    def preloads(self, consumer: str) -> tuple[str, ...]:
        """Return what an import hook opens before a consumer is imported."""
        return tuple(path for p in self._target.preloads if p.consumer == consumer for path in p.paths)

    def cache_entries(self) -> tuple[tuple[str, str], ...]:
        """Return (SONAME, path) of each library that ld.so.cache holds for this target."""
        self.prepare()
        return tuple(self._index.items())

    def process(
        self,
        *,
        library_path: bool = True,
        family: Callable[[str], str | None] = lambda _: None,
        tolerate: Callable[[str], bool] = lambda _: False,
    ) -> Process:
        """Return a new process, not yet started.

        Args:
            library_path: False to leave LD_LIBRARY_PATH out.
            family: Family of a library by file name, for the check of symbols within one.
            tolerate: Whether to go on as if a missing linked library were there.
        """
        self.prepare()
        settings = self._settings
        if not library_path:
            environment = {k: v for k, v in settings.environment.items() if k != "LD_LIBRARY_PATH"}
            settings = ProcessSettings(settings.executable, environment, settings.secure_execution)
        return Process(self.files, self.ldso, self._index, settings, self.executable, family=family, tolerate=tolerate)


def start_emulation(system: ReadSystem, target: Target) -> Emulation | None:
    """Put the question to the target's ELF interpreter, which answers while other work goes on.

    Returns:
        The loader; None where it cannot be emulated: whoever needs it will say why.
    """
    try:
        return Emulation(system, target)
    except CannotEmulate:
        return None


def _read_executable(system: ReadSystem, path: str) -> ElfObject:
    try:
        elf = read_elf(system, path)
    except (ElfError, NotThere, CannotLook) as error:
        raise CannotEmulate(f"{path}: {error}") from error
    if is_musl(elf.interpreter):
        raise CannotEmulate(f"{path} runs on musl ({elf.interpreter}), whose loader is not supported")
    if elf.machine not in FLAGS:
        raise CannotEmulate(f"{path} is built for {elf.machine}, which is not supported")
    return elf

"""What a project settled in a file, under what the command line says."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from gpudoctor.config.types import Config
    from gpudoctor.rules.engine import Verdict

SETTINGS = "The project's settings"

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The project's settings. Default: gpudoctor.toml or the table \\[tool.gpudoctor] of pyproject.toml, in "
        "this folder or above it, up to the root of the repository.",
        rich_help_panel=SETTINGS,
    ),
]
NoConfigOption = Annotated[bool, typer.Option("--no-config", help="Look for no settings.", rich_help_panel=SETTINGS)]


class Wishes(NamedTuple):
    """What is to be judged: the command line's word, else the project's.

    Attributes:
        consumers: As `--for`.
        env: As `--env`.
        env_file: As `--env-file`.
        assume_driver: As `--assume-driver`.
        assume_gpu: As `--assume-gpu`.
        matrix_file: As `--matrix`.
    """

    consumers: list[str] | None
    env: list[str] | None
    env_file: str | None
    assume_driver: str | None
    assume_gpu: list[str] | None
    matrix_file: str | None


def find_project(config: str | None, no_config: bool) -> Config | None:
    """Return the settings that `--config`, `--no-config` or the current folder lead to; None for none.

    Raises:
        GpuDoctorError: The options contradict each other, or a file holds something that it should not.
    """
    from gpudoctor.system.real import RealSystem

    if no_config:
        if config is not None:
            from gpudoctor.model.errors import UsageError

            raise UsageError("--config and --no-config exclude one another")
        return None
    from gpudoctor.config.find import find_config

    found = find_config(RealSystem(), config)
    if found is not None:
        _check_rules(found)
    return found


def _check_rules(project: Config) -> None:
    """Refuse names that mean no rule: an ignore with a slip in it would look as if it did something.

    Raises:
        InputFileError: There is one.
    """
    if not project.settled.ignore and not project.settled.select:
        return
    from gpudoctor.cli.rule import every_rule
    from gpudoctor.config.lines import line_of_key, line_of_rule
    from gpudoctor.model.errors import InputFileError

    every = every_rule()
    for entry in project.settled.ignore:
        if not any(entry.rule.lower() in (r.id.lower(), r.name) for r in every):
            line = line_of_rule(project.text, entry.rule, 0)
            tail = "ignore takes a whole id or name; `gpudoctor rule` lists them"
            raise InputFileError(f"{_at(project, line)}: no rule is called {entry.rule!r}: {tail}")
    for name in project.settled.select:
        if not any(name.lower() == r.name or r.id.startswith(name.upper()) for r in every):
            line = line_of_key(project.text, project.table, "select")
            tail = "and no rule id begins with it; `gpudoctor rule` lists them"
            raise InputFileError(f"{_at(project, line)}: no rule is called {name!r}, {tail}")


def _at(project: Config, line: int | None) -> str:
    return f"{project.file}: line {line}" if line else project.file


def wishes_of(project: Config | None, said: Wishes, *, snapshot: str | None = None) -> Wishes:
    """Return what to judge.

    Args:
        project: The project's settings.
        said: The command line, which outranks them, option by option. `--env-file` replaces both `env` and `env-file`:
            it says how the service starts.
        snapshot: A snapshot file that is judged: it holds its variables already.
    """
    if project is None:
        return said
    settled = project.settled
    env, env_file = said.env, said.env_file
    if snapshot is None and env_file is None:
        env = [*(f"{name}={value}" for name, value in settled.env.items()), *(said.env or ())]
        env_file = _beside(project, settled.env_file)
    return Wishes(
        consumers=said.consumers or list(settled.consumers),
        env=env,
        env_file=env_file,
        assume_driver=said.assume_driver or settled.assume.driver,
        assume_gpu=said.assume_gpu or list(settled.assume.gpus),
        matrix_file=said.matrix_file or _beside(project, settled.matrix),
    )


def _beside(project: Config, path: str | None) -> str | None:
    return posixpath.join(project.folder, path) if path is not None else None


def apply_project(
    project: Config | None,
    verdict: Verdict,
    *,
    select: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    partial: bool = False,
    files: tuple[str, ...] | None = None,
) -> Verdict:
    """Return a verdict with what the project ignores set aside; see gpudoctor.config.apply.

    Args:
        project: The project's settings.
        verdict: What the rules answered.
        select: `--select` of the command line alone.
        ignore: `--ignore` of the command line.
        partial: Only some consumers were judged.
        files: The files that were judged; None where an environment was.
    """
    if project is None:
        return verdict
    import datetime

    from gpudoctor.config.apply import apply_config

    today = datetime.datetime.now(datetime.timezone.utc).date()
    return apply_config(project, verdict, today=today, select=select, ignore=ignore, partial=partial, files=files)

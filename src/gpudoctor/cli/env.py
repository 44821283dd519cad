"""`gpudoctor env`: print the library paths that a process needs, for a shell or a file."""

from __future__ import annotations

import posixpath
import sys
from enum import Enum
from typing import Annotated

import typer

from gpudoctor.cli.common import (
    OUTPUT,
    BinaryOption,
    EnvFileOption,
    EnvOption,
    ForOption,
    MatrixOption,
    OutputOption,
    PythonOption,
    emit_bytes,
    say,
)


class Shell(str, Enum):
    """Forms of output."""

    BASH = "bash"
    SH = "sh"
    DASH = "dash"
    ZSH = "zsh"
    FISH = "fish"
    CSH = "csh"
    TCSH = "tcsh"
    POWERSHELL = "powershell"
    JSON = "json"
    DOTENV = "dotenv"
    DOCKER = "docker"
    DOCKER_ENV_FILE = "docker-env-file"
    SYSTEMD = "systemd"


def env(
    shell: Annotated[
        Shell | None,
        typer.Option(
            "--shell",
            help="For which shell, or kind of file: docker is a Dockerfile's ENV line, systemd a unit's Environment= "
            "line, docker-env-file is for `docker run --env-file`. Default: from $SHELL.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    variables: EnvOption = None,
    env_file: EnvFileOption = None,
    matrix_file: MatrixOption = None,
    output: OutputOption = None,
) -> int:
    """Print exactly the library paths that the environment's consumers need and the loader would miss.

    The value is the whole new LD_LIBRARY_PATH, as it was proved on the emulated loader; the present one is its end.
    Where nothing is needed, nothing is printed (but a word on standard error): running it twice changes nothing.

    Examples:
      eval "$(gpudoctor env)"

      gpudoctor env --shell fish | source

      gpudoctor env --python /srv/app/.venv --env-file service.env --shell systemd
    """
    from gpudoctor.fix.process import SettingsRequest, process_settings
    from gpudoctor.fix.refusals import Refusal, way_out
    from gpudoctor.fix.render_env import render_env, render_env_json
    from gpudoctor.fix.settings import VARIABLE
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    form = shell or _default_shell(system.environ().get("SHELL"))
    request = SettingsRequest(
        python=python,
        own_python=sys.executable,
        consumers=tuple(consumers or ()),
        binary=binary,
        assignments=tuple(variables or ()),
        env_file=env_file,
        matrix_file=matrix_file,
    )
    found = process_settings(system, load_matrix(matrix_file), request)
    answer = found.answer
    if isinstance(answer, Refusal):
        say(f"{answer.reason}{way_out(answer, found.repair)}")
        return 1
    for reason in answer.left_over:
        say(reason)
    if answer.library_path is None and not answer.left_over:
        say("nothing to set: every library is found as it is")
    if form is Shell.JSON:
        values = {} if answer.library_path is None else {VARIABLE: answer.library_path}
        emit_bytes(render_env_json(values, answer.directories).encode("utf-8", "surrogateescape"), output)
    elif answer.library_path is not None:
        text = render_env(form.value, VARIABLE, answer.library_path)
        # The very bytes of folder names that are not UTF-8.
        emit_bytes(text.encode("utf-8", "surrogateescape"), output)
    return 0


def _default_shell(path: str | None) -> Shell:
    from gpudoctor.model.errors import UsageError

    if not path:
        return Shell.SH
    name = posixpath.basename(path)
    known = {s.value: s for s in (Shell.BASH, Shell.SH, Shell.DASH, Shell.ZSH, Shell.FISH, Shell.CSH, Shell.TCSH)}
    known |= {"ash": Shell.SH, "ksh": Shell.SH, "mksh": Shell.SH, "pwsh": Shell.POWERSHELL}
    if name not in known:
        raise UsageError(f"SHELL is {path!r}, which is not known here; name a form with --shell")
    return known[name]

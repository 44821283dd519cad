"""`gpudoctor run`: start a program with the library paths that it needs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpudoctor.cli.common import BinaryOption, EnvFileOption, EnvOption, ForOption, MatrixOption, PythonOption, say

# Options end where the command begins, so that its own options are never taken for ours.
CONTEXT_SETTINGS = {"allow_interspersed_args": False}


def run(
    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD [ARG]…", help="The program to run, and its arguments.")
    ],
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    matrix_file: MatrixOption = None,
) -> int:
    """Run CMD with exactly the library paths that the environment's consumers need and the loader would miss.

    The folders are put before the present LD_LIBRARY_PATH, after the loader was emulated under them: everything that
    was missing is found, and nothing that was found changes. Where nothing is needed, nothing is set. Where nothing
    helps, or one consumer could only be served at another's expense, CMD is not run: one sentence, status 1.

    CMD takes gpudoctor's place in the process: signals, standard input and the exit status are its own. 127: not
    found, 126: not executable.

    Where CMD is a Python of some environment, or a script installed in one, that environment is judged unless --python
    names another. With --env and --env-file CMD gets these variables too: the answer holds for them.

    Examples:
      gpudoctor run -- .venv/bin/python transcribe.py

      gpudoctor run --python .venv --for ctranslate2 -- node server.js
    """
    from gpudoctor.fix.process import SettingsRequest, process_settings
    from gpudoctor.fix.refusals import Refusal, way_out
    from gpudoctor.fix.settings import VARIABLE
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.system.execution import added_by_python, become, find_program
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    searched = dict(system.environ()) | dict(a.split("=", 1) for a in env or () if a.startswith("PATH="))
    program = find_program(command[0], searched)
    request = SettingsRequest(
        python=python,
        own_python=sys.executable,
        consumers=tuple(consumers or ()),
        binary=binary,
        assignments=tuple(env or ()),
        env_file=env_file,
        command=(program, *command[1:]),
        matrix_file=matrix_file,
    )
    found = process_settings(system, load_matrix(matrix_file), request)
    if isinstance(found.answer, Refusal):
        say(f"{found.answer.reason}{way_out(found.answer, found.repair)}; {command[0]} was not run")
        return 1
    for unmet in found.answer.unmet:
        say(unmet.reason)
    environment = dict(found.environment)
    for name in added_by_python():
        if environment.get(name) == system.environ().get(name):
            del environment[name]
    if found.answer.library_path is not None:
        environment[VARIABLE] = found.answer.library_path
    become(program, command, environment)
    return 0

"""The command line: which commands there are, and how an error becomes an exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from errno import ENOSPC
from importlib import import_module
from inspect import cleandoc
from io import StringIO, TextIOWrapper
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from gpudoctor import __version__
from gpudoctor.model.errors import GpuDoctorError

if TYPE_CHECKING:
    import click

EXIT_USAGE = 2
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130

# In the order of `--help`: name -> module and attribute. A command's module is imported when the command is named.
COMMANDS = {
    "check": ("check", "check"),
    "libs": ("libs", "libs"),
    "run": ("run", "run"),
    "env": ("env", "env"),
    "fix": ("fix", "fix"),
    "bench": ("bench", "bench"),
    "explain": ("explain", "explain"),
    "snapshot": ("snapshot", "snapshot"),
    "lock": ("lock", "lock"),
    "diff": ("diff", "diff"),
    "lint": ("lint", "lint"),
    "pins": ("pins", "pins"),
    "rule": ("rule", "rule"),
    "matrix": ("matrix", "app"),
}


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"gpudoctor {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Says which GPU library file each consumer of a Python environment will load, and why that works or fails."""


def build_app(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """Return the application with the named commands; all of them by default."""
    app = typer.Typer(
        name="gpudoctor",
        epilog="Exit status: 0 nothing at or above --fail-on, 1 findings, 2 wrong usage or unreadable input, "
        "3 with --strict something could not be judged, 70 internal error.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        suggest_commands=False,  # click itself does
    )
    app.callback()(root)
    for name in names:
        module, attribute = COMMANDS[name]
        imported = import_module(f"gpudoctor.cli.{module}")
        command = getattr(imported, attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            settings = getattr(imported, "CONTEXT_SETTINGS", None)
            shape = getattr(imported, "COMMAND_CLASS", None)
            app.command(name, cls=shape, context_settings=settings)(command)
    return app


def _named(arguments: list[str]) -> Iterable[str]:
    """Return the only command that a command line needs, or all: building each costs 2 ms at every start."""
    return (arguments[0],) if arguments and arguments[0] in COMMANDS else COMMANDS


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status; every error becomes one sentence on standard error."""
    import click

    _accept_any_text()
    arguments = sys.argv[1:] if arguments is None else arguments
    command = typer.main.get_command(build_app(_named(arguments)))
    _reflow(command)
    try:
        result = command.main(args=arguments, prog_name="gpudoctor", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        return _wrong_usage(error)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except GpuDoctorError as error:
        return _fail(str(error), error.exit_status)
    except BrokenPipeError:
        return _closed_pipe()
    except OSError as error:
        # `--help` is printed by the library below; what gpudoctor prints says itself where it cannot be written.
        return _full(error) if error.errno == ENOSPC and error.filename is None else _internal(error)
    except Exception as error:  # noqa: BLE001 - the last resort: an internal error has its own exit status
        return _internal(error)
    return result if isinstance(result, int) else 0


def _reflow(command: click.Command) -> None:
    """Let the terminal break the lines of a help text's paragraphs; examples, which are indented, keep their own."""
    if command.help:
        parts = cleandoc(command.help).split("\n\n")
        command.help = "\n\n".join(_reflowed(part) for part in parts).replace("\n\n  ", "\n  ")
    for subcommand in getattr(command, "commands", {}).values():
        _reflow(subcommand)


def _reflowed(paragraph: str) -> str:
    lines = paragraph.split("\n")
    indented = any(line.startswith(" ") for line in lines)
    return paragraph if indented else " ".join(lines)


def _accept_any_text() -> None:
    """Let a terminal that lacks a character get it as an escape: `--help` and names from outside hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _wrong_usage(error: click.ClickException) -> int:
    """Print what click says of an argument, with whatever the argument holds escaped."""
    from gpudoctor.report.escape import visible

    told = StringIO()
    error.show(file=told)
    if "extra argument" in error.message and _takes_python(error):
        told.write("The environment to judge is named with --python.\n")
    for line in told.getvalue().rstrip("\n").split("\n"):
        _complain(f"{visible(line)}\n")
    return EXIT_USAGE


def _takes_python(error: click.ClickException) -> bool:
    context = getattr(error, "ctx", None)
    return context is not None and any("--python" in parameter.opts for parameter in context.command.params)


def _complain(text: str) -> None:
    stderr: TextIO | None = sys.stderr  # None when the process was started with it closed
    if stderr is not None:
        stderr.write(text)


def _fail(message: str, status: int) -> int:
    from gpudoctor.report.escape import visible

    _complain(f"gpudoctor: {visible(message)}\n")
    return status


def _closed_pipe() -> int:
    """End quietly when the reader of our output went away (`gpudoctor check | head`)."""
    from gpudoctor.system.terminal import abandon_stdout

    abandon_stdout()
    return 0


def _full(error: OSError) -> int:
    from gpudoctor.system.terminal import abandon_stdout

    abandon_stdout()
    return _fail(f"cannot write to standard output: {error.strerror}", EXIT_USAGE)


def _internal(error: Exception) -> int:
    import traceback

    _complain("".join(traceback.format_exception(error)))
    return _fail(
        f"internal error ({type(error).__name__}); this is a defect of gpudoctor: please report the lines above "
        "with the output of `gpudoctor snapshot`",
        EXIT_INTERNAL,
    )

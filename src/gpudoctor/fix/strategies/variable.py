"""Strategies that set LD_LIBRARY_PATH: activation scripts, an environment file, a wrapper, what only root can."""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.fix.refusals import Refusal, ignored
from gpudoctor.fix.render_env import CannotExpress, render_env
from gpudoctor.fix.settings import VARIABLE, prepended
from gpudoctor.fix.strategies.base import Proposal, Situation, outside, refused, write_file
from gpudoctor.fix.strategies.blocks import CONDA, activate_files, render_block, with_block
from gpudoctor.fix.types import Action, MakeFolder, StrategyName, WriteFile
from gpudoctor.loader.target import Target
from gpudoctor.system.changes import FileState, Nothing

_WRAPPER = """\
#!/bin/sh
# Written by `gpudoctor fix`; `gpudoctor fix --undo` takes it away again.
{block}exec {python} "$@"
"""

_OURS = _WRAPPER.partition("{")[0].encode()


def _target(situation: Situation) -> Target:
    """Return the process that starts with the directories before its present LD_LIBRARY_PATH."""
    value = prepended(situation.settings.directories, situation.target.environment.get(VARIABLE))
    return msgspec.structs.replace(situation.target, environment={**situation.target.environment, VARIABLE: value})


def _proposal(
    situation: Situation, strategy: StrategyName, scope: str, risk: str, actions: tuple[Action | Refusal, ...]
) -> Proposal | Refusal:
    refusal = next((a for a in actions if isinstance(a, Refusal)), None)
    if refusal is not None:
        return refusal
    if situation.target.secure_execution:
        return ignored(situation.consumers, situation.target.executable)
    wanted = (a for a in actions if not isinstance(a, Refusal))
    return Proposal(
        strategy=strategy,
        scope=scope,
        risk=risk,
        actions=tuple(a for a in wanted if not isinstance(a, WriteFile) or a.content != a.former),
        system=situation.system,
        target=_target(situation),
    )


def _own(situation: Situation, strategy: str, folder: str) -> Refusal | None:
    """Return why a folder of the environment cannot be written to."""
    if situation.native and situation.native.is_managed:
        return refused(strategy, f"{folder} belongs to the operating system's package manager")
    reason = outside(situation, posixpath.join(folder, "file")) or situation.changes.writable(folder)
    return refused(strategy, f"{folder}: {reason}") if reason else None


# --- activation ------------------------------------------------------------------------------------------------------

_ACTIVATED = (
    "shells in which the environment was activated, and what they start; nobody who starts its interpreter by path"
)
_STAYS = "after `deactivate` LD_LIBRARY_PATH stays as it is; an environment that is made anew has new scripts"


def propose_activate(situation: Situation) -> Proposal | Refusal:
    """Propose a block in each activation script that a venv has."""
    folder = posixpath.join(situation.target.prefix, "bin")
    refusal = _own(situation, "activate", folder)
    if refusal is not None:
        return refusal
    actions = tuple(
        _edited(situation, posixpath.join(folder, name), shell)
        for name, shell in activate_files().items()
        if isinstance(situation.changes.state(posixpath.join(folder, name)), FileState)
    )
    if not actions:
        return refused("activate", f"{folder} holds no activation scripts")
    return _proposal(situation, "activate", _ACTIVATED, _STAYS, actions)


def _edited(situation: Situation, path: str, shell: str) -> Action | Refusal:
    try:
        block = render_block(shell, situation.settings.directories).encode("utf-8", "surrogateescape")
    except CannotExpress as error:
        return refused("activate", str(error))
    content = with_block(situation.changes.read(path), block)
    return write_file(situation, path, content, f"sets {VARIABLE} on activation ({shell})")


def propose_conda(situation: Situation) -> Proposal | Refusal:
    """Propose scripts in conda's activate.d."""
    if situation.interpreter is None or situation.interpreter.kind != "conda":
        return refused("conda", f"{situation.target.prefix} is no conda environment")
    folders = tuple(posixpath.join(situation.target.prefix, p) for p in ("etc", "etc/conda", "etc/conda/activate.d"))
    made = tuple(
        MakeFolder(f, 0o755, "holds scripts that conda sources on activation")
        for f in folders
        if isinstance(situation.changes.state(f), Nothing)
    )
    there = next((f for f in reversed(folders) if f not in {m.path for m in made}), situation.target.prefix)
    refusal = _own(situation, "conda", there)
    if refusal is not None:
        return refusal
    written = tuple(_conda_script(situation, posixpath.join(folders[-1], n), s) for n, s in CONDA.items())
    scope = _ACTIVATED.replace("the environment was activated", "conda activated the environment")
    return _proposal(situation, "conda", scope, _STAYS, (*made, *written))


def _conda_script(situation: Situation, path: str, shell: str) -> Action | Refusal:
    try:
        block = render_block(shell, situation.settings.directories).encode("utf-8", "surrogateescape")
    except CannotExpress as error:
        return refused("conda", str(error))
    return write_file(situation, path, block, f"sets {VARIABLE} on activation ({shell})")


# --- files for services ----------------------------------------------------------------------------------------------


def propose_env_file(situation: Situation) -> Proposal | Refusal:
    """Propose a file of variables in the environment's root, for EnvironmentFile= and its like."""
    prefix = situation.target.prefix
    refusal = _own(situation, "env-file", prefix)
    if refusal is not None:
        return refusal
    target = _target(situation)
    try:
        text = render_env("dotenv", VARIABLE, target.environment[VARIABLE])
    except CannotExpress as error:
        return refused("env-file", str(error))
    path = situation.native.env_file if situation.native else posixpath.join(prefix, "gpudoctor.env")
    action = write_file(situation, path, text.encode(), "variables for whoever starts the service")
    scope = f"services that are told to read it: EnvironmentFile={path}, `docker run --env-file`, dotenv"
    risk = f"it holds the whole {VARIABLE}, which replaces any that the service sets itself"
    return _proposal(situation, "env-file", scope, risk, (action,))


def propose_wrapper(situation: Situation) -> Proposal | Refusal:
    """Propose a program beside the one that is started, which sets the variable and becomes it."""
    if situation.native and not situation.native.is_program:
        return refused("wrapper", f"{situation.native.path} is no program that could be started")
    folder = posixpath.dirname(situation.target.executable)
    refusal = _own(situation, "wrapper", folder)
    if refusal is not None:
        return refusal
    text = _WRAPPER.format(
        block=render_block("sh", situation.settings.directories),
        python=_quoted(situation.target.executable),
    )
    path = f"{situation.target.executable}-gpu" if situation.native else posixpath.join(folder, "python-gpu")
    whole = "program" if situation.native else "interpreter"
    content = text.encode("utf-8", "surrogateescape")
    action = write_file(situation, path, content, f"becomes the {whole}, with the variable", mode=0o755)
    if isinstance(action, WriteFile) and action.former is not None and not action.former.startswith(_OURS):
        return refused("wrapper", f"{path} is there already and is none of gpudoctor's")
    scope = f"programs that start {path} instead of {posixpath.basename(situation.target.executable)}"
    return _proposal(situation, "wrapper", scope, "it names folders, and does not move with them", (action,))


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


# --- only shown ------------------------------------------------------------------------------------------------------


def propose_show(situation: Situation) -> Proposal | Refusal:
    """Propose what gpudoctor does not do itself: what needs root, or belongs into somebody else's file."""
    value = ":".join(situation.settings.directories)
    lines = "".join(f"{d}\\n" for d in situation.settings.directories)
    commands: list[str] = []
    # A line of its own for each place: neither a unit file nor a Dockerfile knows a comment behind a setting.
    for form, place in (
        ("systemd", "# in the unit, under [Service]:"),
        ("docker", "# in the Dockerfile:"),
        ("sh", "# in a shell:"),
    ):
        try:
            commands.append(f"{place}\n{render_env(form, VARIABLE, value).strip()}")
        except CannotExpress:
            continue
    commands.append(
        "# for every program of this machine:\n"
        f"printf {_quoted(lines.replace('%', '%%'))} | sudo tee /etc/ld.so.conf.d/gpudoctor.conf && sudo ldconfig"
    )
    proposal = _proposal(
        situation, "show", "whoever you do it for", "ldconfig reaches every program of the machine", ()
    )
    if isinstance(proposal, Refusal):
        return proposal
    return msgspec.structs.replace(proposal, commands=tuple(commands), applicability="display-only")

"""Lines in start files that put folders before LD_LIBRARY_PATH, for each shell, between two marks.

Run twice in one shell they add nothing the second time. What is in LD_LIBRARY_PATH already stays, behind.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpudoctor.fix.render_env import render_env

BEGIN, END = "# >>> gpudoctor >>>", "# <<< gpudoctor <<<"
_HELPER = "GPUDOCTOR_LIBRARY_PATH"

_SH = """\
case "${LD_LIBRARY_PATH-}" in
    "$GPUDOCTOR_LIBRARY_PATH" | "$GPUDOCTOR_LIBRARY_PATH:"*) ;;
    *)
        LD_LIBRARY_PATH="$GPUDOCTOR_LIBRARY_PATH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        export LD_LIBRARY_PATH
        ;;
esac
unset GPUDOCTOR_LIBRARY_PATH
"""
# fish splits and joins every variable whose name ends in PATH at its colons; in double quotes it is joined.
_FISH = """\
if test -z "$LD_LIBRARY_PATH"
    set -gx LD_LIBRARY_PATH "$GPUDOCTOR_LIBRARY_PATH"
else if test (string sub -l (string length -- "$GPUDOCTOR_LIBRARY_PATH:") -- "$LD_LIBRARY_PATH:" | string collect) \
!= "$GPUDOCTOR_LIBRARY_PATH:"
    set -gx LD_LIBRARY_PATH "$GPUDOCTOR_LIBRARY_PATH:$LD_LIBRARY_PATH"
end
set -e GPUDOCTOR_LIBRARY_PATH
"""
# csh compares with patterns only, which a folder's name may look like: a mark of its own says that this shell has it.
_CSH = """\
if ( ! $?gpudoctor_active ) then
    set gpudoctor_active
    if ( ! $?LD_LIBRARY_PATH ) then
        setenv LD_LIBRARY_PATH $GPUDOCTOR_LIBRARY_PATH:q
    else if ( $%LD_LIBRARY_PATH == 0 ) then
        setenv LD_LIBRARY_PATH $GPUDOCTOR_LIBRARY_PATH:q
    else
        setenv LD_LIBRARY_PATH ${GPUDOCTOR_LIBRARY_PATH:q}:${LD_LIBRARY_PATH:q}
    endif
endif
unsetenv GPUDOCTOR_LIBRARY_PATH
"""
_POWERSHELL = """\
if (-not $env:LD_LIBRARY_PATH) {
    $env:LD_LIBRARY_PATH = $env:GPUDOCTOR_LIBRARY_PATH
} elseif (-not ($env:LD_LIBRARY_PATH + ':').StartsWith($env:GPUDOCTOR_LIBRARY_PATH + ':', 'Ordinal')) {
    $env:LD_LIBRARY_PATH = $env:GPUDOCTOR_LIBRARY_PATH + ':' + $env:LD_LIBRARY_PATH
}
Remove-Item Env:GPUDOCTOR_LIBRARY_PATH
"""
_BODIES: Mapping[str, str] = {"sh": _SH, "fish": _FISH, "csh": _CSH, "powershell": _POWERSHELL}
# venv's own names, and the endings that conda takes note of.
_ACTIVATE: Mapping[str, str] = {
    "activate": "sh",
    "activate.fish": "fish",
    "activate.csh": "csh",
    "Activate.ps1": "powershell",
    "activate.ps1": "powershell",
}
CONDA: Mapping[str, str] = {"gpudoctor.sh": "sh", "gpudoctor.fish": "fish", "gpudoctor.csh": "csh"}


def activate_files() -> Mapping[str, str]:
    """Return the start files of a venv, with the shell of each."""
    return _ACTIVATE


def render_block(shell: str, directories: tuple[str, ...]) -> str:
    """Return the lines that put directories before LD_LIBRARY_PATH, between their marks.

    Args:
        shell: `sh`, `fish`, `csh` or `powershell`.
        directories: The directories, in order; none holds a colon.

    Raises:
        CannotExpress: The shell has no way to write a name.
    """
    return f"{BEGIN}\n{render_env(shell, _HELPER, ':'.join(directories))}{_BODIES[shell]}{END}\n"


def with_block(text: bytes, block: bytes) -> bytes:
    """Return a start file with a block at its end, in place of one that is there already."""
    begin, end = text.find(BEGIN.encode()), text.find(END.encode() + b"\n")
    if 0 <= begin < end:
        return text[:begin] + block + text[end + len(END) + 1 :]
    return text + (b"" if text.endswith(b"\n") or not text else b"\n") + block

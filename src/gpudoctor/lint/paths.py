"""Values of LD_LIBRARY_PATH and of the loader's configuration, as files write them: what they surely name."""

from __future__ import annotations

import re

_WORD = re.compile(r"\$\{?(?!LD_LIBRARY_PATH\b)\w+[^}/:]*\}?/?")
# The module that a command prints the folder of: `import nvidia.cudnn.lib`.
_MODULE = re.compile(r"\bnvidia\.(\w+)")


def without_commands(value: str) -> str:
    """Return a value with each `$(…)` and each pair of backticks emptied, so that only what is written is left."""
    kept, at = [], 0
    while at < len(value):
        end = _end_of_command(value, at)
        if end is None:
            kept.append(value[at])
            at += 1
        else:
            kept.append("$()")
            at = end
    return "".join(kept)


def _end_of_command(value: str, start: int) -> int | None:
    """Return where the command that begins here ends; None where none begins."""
    if value[start] == "`":
        end = value.find("`", start + 1)
        return end + 1 if end > 0 else len(value)
    if not value.startswith("$(", start):
        return None
    depth, quote = 0, ""
    for at in range(start + 1, len(value)):
        char = value[at]
        if quote:
            quote = "" if char == quote and value[at - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        else:
            depth += {"(": 1, ")": -1}.get(char, 0)
            if depth == 0:
                return at + 1
    return len(value)


def names_folder(value: str, directory: str) -> bool | None:
    """Tell whether a value names a folder below site-packages.

    Args:
        value: Elements between colons, with what could not be filled in left as written.
        directory: `nvidia/cudnn/lib`.

    Returns:
        None where only running it tells: an element is a command's output, or a variable that is set elsewhere.
    """
    if directory in value:
        return True
    plain = without_commands(value)
    if plain != value:
        modules = {f"nvidia/{name}" for name in _MODULE.findall(value)} if "import" in value else set()
        if any(directory == m or directory.startswith(f"{m}/") for m in modules):
            return True
        return None if not modules else _rest_may(plain.replace("$()", ""))
    return _rest_may(plain)


def _rest_may(value: str) -> bool | None:
    return None if any(_WORD.fullmatch(element) for element in value.split(":")) else False

"""The import hook that a repair puts into an environment: its text, and the way back from the text to what it opens.

A hook file is ours when its text is exactly what its own list gives: nothing of it is ever executed to find out.
"""

from __future__ import annotations

import ast
import posixpath

from gpudoctor.loader.target import Preload

HOOK_FILE = "_gpudoctor_preload.py"
PTH_FILE = "gpudoctor_preload.pth"
PTH_TEXT = "import _gpudoctor_preload\n"

_LIST = "PRELOADS"
_TEMPLATE = '''\
"""Written by `gpudoctor fix`; `gpudoctor fix --undo` takes it away again.

gpudoctor_preload.pth imports this at every start of the interpreter. It does nothing until one of the packages below
is looked for by an import. Then it opens the libraries named for it by absolute path, dependencies first, so that each
later request for one of their names is answered by the file that is loaded already. It raises nothing. Where a library
cannot be opened for want of the driver, it says nothing either: without a GPU nobody uses that library.
"""

import sys

PRELOADS = {
%s}

_waiting = dict(PRELOADS)


def _preload(name):
    libraries = _waiting.pop(name, ())
    failed = []
    try:
        import ctypes

        here = __file__.rpartition("/")[0]
        for library in libraries:
            path = library if library.startswith("/") else here + "/" + library
            try:
                ctypes.CDLL(path)
            except OSError as error:
                if not str(error).startswith(("libcuda.so", "libnvidia-")):
                    failed.append(library + ": " + str(error))
        if failed:
            sys.stderr.write(
                "gpudoctor: %%d of %%d GPU libraries of %%s cannot be opened (%%s); see `gpudoctor check`\\n"
                %% (len(failed), len(libraries), name, failed[0])
            )
    except Exception:
        pass


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in _waiting:
            _preload(name)
        return None


sys.meta_path.insert(0, _Finder)
'''


def render_hook(preloads: tuple[Preload, ...], site_dir: str, prefix: str) -> str:
    """Return the hook file's text.

    Args:
        preloads: What to open, by absolute path.
        site_dir: Folder that the hook will lie in.
        prefix: Root of the environment: what lies below it is named relative to the hook, so that an environment that
            is moved or copied works.
    """
    named = {p.consumer: tuple(_spelled(path, site_dir, prefix) for path in p.paths) for p in preloads}
    return _render(named)


def _spelled(path: str, site_dir: str, prefix: str) -> str:
    inside = posixpath.normpath(path).startswith(posixpath.normpath(prefix) + "/")
    return posixpath.relpath(path, site_dir) if inside else path


def _render(named: dict[str, tuple[str, ...]]) -> str:
    lines: list[str] = []
    for consumer, paths in named.items():
        lines.append(f"    {consumer!a}: (\n")
        lines += (f"        {path!a},\n" for path in paths)
        lines.append("    ),\n")
    return _TEMPLATE % "".join(lines)


def read_hook(text: str, site_dir: str) -> tuple[Preload, ...] | None:
    """Return what a hook file opens; None when the text is not one that this gpudoctor writes."""
    named = _named(text)
    if named is None or _render(named) != text:
        return None
    return tuple(Preload(c, tuple(posixpath.join(site_dir, p) for p in paths)) for c, paths in named.items())


def _named(text: str) -> dict[str, tuple[str, ...]] | None:
    try:
        tree = ast.parse(text)
        value = next(
            ast.literal_eval(s.value)
            for s in tree.body
            if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name) and s.targets[0].id == _LIST
        )
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, StopIteration):
        return None
    if not isinstance(value, dict):
        return None
    fits = all(
        isinstance(c, str) and isinstance(paths, tuple) and all(isinstance(p, str) for p in paths)
        for c, paths in value.items()
    )
    return value if fits else None

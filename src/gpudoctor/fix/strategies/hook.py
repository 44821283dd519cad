"""A lazy import hook in site-packages: works for whoever starts the interpreter, without any activation.

The loader answers a request for a name with a library of that SONAME that is loaded already, whatever LD_LIBRARY_PATH
says. So all that a consumer will open is opened before it, by absolute path, dependencies first: a part of it would
only move the crash to the next library.
"""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.strategies.base import Proposal, Situation, outside, refused, write_file
from gpudoctor.fix.strategies.closure import missing_libraries
from gpudoctor.fix.types import Litter
from gpudoctor.loader.preload_hook import HOOK_FILE, PTH_FILE, PTH_TEXT, read_hook, render_hook
from gpudoctor.loader.target import Preload, Target
from gpudoctor.model.environment import Interpreter
from gpudoctor.probes.layout import find_layout
from gpudoctor.probes.site_paths import site_folders
from gpudoctor.system.protocol import CannotLook, NotThere

_NAME = "hook"
_SCOPE = (
    "every start of this environment's interpreter, by whomever and under whatever LD_LIBRARY_PATH; "
    "not `python -S`, and not programs that embed another interpreter"
)
_RISK = (
    "it names files: after the packages that own them change, run `gpudoctor fix` again "
    "(until then the hook says on standard error what it cannot open)"
)


def propose_hook(situation: Situation) -> Proposal | Refusal:
    """Propose the hook, or say why it has no place here."""
    site = _site_dir(situation)
    if isinstance(site, Refusal):
        return site
    present = _present(situation, site)
    if isinstance(present, Refusal):
        return present
    elsewhere = tuple(p for p in situation.target.preloads if p not in present)
    preloads = _merged(present, tuple(Preload(c, missing_libraries(situation, c)) for c in situation.consumers))
    text = render_hook(preloads, site, situation.target.prefix).encode()
    hook = write_file(situation, posixpath.join(site, HOOK_FILE), text, "opens what the consumers need, when imported")
    start = write_file(situation, posixpath.join(site, PTH_FILE), PTH_TEXT.encode(), "imports the hook at every start")
    if isinstance(hook, Refusal):
        return hook
    if isinstance(start, Refusal):
        return start
    read = read_hook(text.decode(), site)
    installed = (*elsewhere, *(read or ()))
    return Proposal(
        strategy="hook",
        scope=_SCOPE,
        risk=_RISK,
        # The hook before what imports it, so that no start in between fails.
        actions=tuple(a for a in (hook, start) if a.content != a.former),
        system=situation.system,
        target=msgspec.structs.replace(situation.target, preloads=installed),
        others=_other_orders(situation, installed),
        litter=(Litter(posixpath.join(site, "__pycache__"), HOOK_FILE.removesuffix("py"), ".pyc"),),
    )


def _other_orders(situation: Situation, installed: tuple[Preload, ...]) -> tuple[Target, ...]:
    """Return processes in which the other consumers were imported before, so that their libraries are loaded first."""
    names = tuple(dict.fromkeys(r.consumer for r in situation.snapshot.resolutions))
    everything = tuple(dict.fromkeys(path for p in installed for path in p.paths))
    swapped = tuple(Preload(name, everything) for name in names)
    return (msgspec.structs.replace(situation.target, preloads=swapped),)


# --- where -----------------------------------------------------------------------------------------------------------


def _site_dir(situation: Situation) -> str | Refusal:
    """Return the site-packages folder of the environment's own whose `.pth` files the interpreter follows."""
    found = situation.interpreter
    if found is None:
        return refused(_NAME, "only a Python interpreter imports it")
    if found.kind == "uv-overlay":
        return refused(
            _NAME, f"{found.prefix} is an overlay that `uv run --with` makes anew; repair the environment below"
        )
    layout = find_layout(situation.system, found.executable)
    folders = tuple(f for f in site_folders(situation.system, layout, layout.prefix) if f in found.site_dirs)
    if not folders:
        return refused(_NAME, f"{found.prefix} has no site-packages folder of its own")
    managed = _managed(situation, found, folders)
    if managed is not None:
        return refused(
            _NAME, f"{managed} says that the operating system manages {found.prefix}; make an environment of its own"
        )
    away = outside(situation, posixpath.join(folders[0], PTH_FILE))
    if away is not None:
        return Refusal(kind="outside", reason=f"{_NAME}: {away}")
    reason = situation.changes.writable(folders[0])
    return refused(_NAME, f"{folders[0]} cannot be written to: {reason}") if reason else folders[0]


def _managed(situation: Situation, found: Interpreter, folders: tuple[str, ...]) -> str | None:
    """Return the marker of PEP 668 that forbids changes, if there is one."""
    if found.kind != "system":
        return None
    if found.prefix == "/usr":
        return "the prefix /usr"
    for folder in folders:
        marker = posixpath.join(posixpath.dirname(folder), "EXTERNALLY-MANAGED")
        try:
            situation.system.stat(marker)
        except NotThere:
            continue
        except CannotLook:
            pass
        return marker
    return None


# --- what ------------------------------------------------------------------------------------------------------------


def _present(situation: Situation, site: str) -> tuple[Preload, ...] | Refusal:
    """Return what a hook that is there already opens."""
    path = posixpath.join(site, HOOK_FILE)
    try:
        text = situation.system.read_bytes(path).decode("utf-8", "replace")
    except NotThere:
        return ()
    except CannotLook as error:
        return refused(_NAME, error.reason)
    found = read_hook(text, site)
    if found is None:
        return refused(_NAME, f"{path} was edited, or is none of this gpudoctor's; remove it, or use another strategy")
    return tuple(Preload(p.consumer, tuple(x for x in p.paths if _is_there(situation, x))) for p in found)


def _is_there(situation: Situation, path: str) -> bool:
    try:
        return situation.system.stat(path).kind == "file"
    except (NotThere, CannotLook):
        return False


def _merged(present: tuple[Preload, ...], wanted: tuple[Preload, ...]) -> tuple[Preload, ...]:
    paths: dict[str, dict[str, None]] = {}
    for preload in (*wanted, *present):
        paths.setdefault(preload.consumer, {}).update(dict.fromkeys(map(posixpath.normpath, preload.paths)))
    return tuple(Preload(consumer, tuple(found)) for consumer, found in paths.items() if found)

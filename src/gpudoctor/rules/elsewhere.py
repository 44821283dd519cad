"""Ways out where a library is there and nobody looks for it there."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence

import msgspec

from gpudoctor.loader.search import inexpressible
from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.model.environment import Interpreter
from gpudoctor.model.fact import Present, value_of
from gpudoctor.model.finding import Applicability, Fix
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.misses import (
    NOWHERE,
    Group,
    deciding_scenario,
    is_foreign,
    late_misses,
    tidy_path,
    unreached_folders,
)
from gpudoctor.rules.origins import other_cuda_of
from gpudoctor.rules.reading import consumer_version, listed, unique
from gpudoctor.rules.remedies import (
    BEFORE_START,
    export_command,
    is_a_decision,
    newer_release_fix,
    packages_fix,
)


def elsewhere_fixes(snapshot: Snapshot, matrix: Matrix, group: Group, groups: Sequence[Group]) -> tuple[Fix, ...]:
    """Return the ways out when the files are there and nobody looks for them there.

    One LD_LIBRARY_PATH for all that the consumer misses: two findings must not send the user through two rounds.
    """
    ours = [m for g in groups if g.consumer == group.consumer for m in g.misses if m.found]
    fitting = (m.found for m in ours if m.found and not other_cuda_of(snapshot, matrix, m.resolution, m.found))
    here = (posixpath.dirname(tidy_path(library)) for library in fitting)
    directories = unique((*here, *unreached_folders(snapshot, matrix, group.consumer)))
    by_hand = _path_fix(snapshot, group, directories)
    if any(inexpressible(directory) for directory in directories):
        by_path = own_fixes(snapshot, matrix, group.consumer, groups, by_hand.applicability, by_path=True)
        return (*by_path, *newer_release_fix(snapshot, matrix, group))
    fixes = [*own_fixes(snapshot, matrix, group.consumer, groups, by_hand.applicability), by_hand]
    if group.consumer == "onnxruntime" and _has_preload_dlls(snapshot, matrix):
        fixes.append(
            Fix(
                title="Or let the program call onnxruntime.preload_dlls() before it creates its first InferenceSession",
                applicability="display-only",
            )
        )
    return (*fixes, *newer_release_fix(snapshot, matrix, group))


def own_fixes(
    snapshot: Snapshot,
    matrix: Matrix,
    consumer: str,
    groups: Sequence[Group],
    applicability: Applicability,
    *,
    by_path: bool = False,
) -> tuple[Fix, ...]:
    """Return what gpudoctor itself does about files that are there and not found.

    Args:
        snapshot: The facts.
        matrix: The matrix.
        consumer: Who does not find them.
        groups: All that is missing here: `fix` does nothing for a consumer while it lacks what no path brings.
        applicability: Of a repair.
        by_path: Whether LD_LIBRARY_PATH cannot name their folder, so that only what opens them by path helps.
    """
    interpreter = value_of(snapshot.interpreter)
    if snapshot.binary is not None:
        own = _native_fix(snapshot.binary, interpreter, applicability)
    elif interpreter is None or interpreter.secure_execution == Present(value=True):
        return ()
    else:
        own = _environment_fix(shlex.quote(interpreter.executable), applicability, by_path=by_path)
    lacking = _beyond_paths(snapshot, matrix, consumer, groups)
    if not lacking:
        return (own,)
    settled = not any(g.state not in NOWHERE or is_a_decision(snapshot, matrix, g) for g in lacking)
    if settled and (packages := packages_fix(snapshot, matrix, consumer)):
        return packages
    names = listed(unique(name for g in lacking for name in g.names))
    title = f"First see to {names}, without which gpudoctor changes nothing; then l{own.title[1:]}"
    return (msgspec.structs.replace(own, title=title, applicability="display-only"),)


def _beyond_paths(snapshot: Snapshot, matrix: Matrix, consumer: str, groups: Sequence[Group]) -> tuple[Group, ...]:
    """Return what a consumer surely lacks and would lack under any LD_LIBRARY_PATH, or will once it gets that far."""
    scenario = deciding_scenario(snapshot, matrix, consumer)
    lacking = [
        g
        for g in groups
        if g.consumer == consumer
        and any(m.resolution.scenario == scenario and not m.resolution.assumed for m in g.misses)
        and (g.state in (*NOWHERE, "broken") or any(is_foreign(snapshot, matrix, m) for m in g.misses))
    ]
    if late := tuple(m for m in late_misses(snapshot, matrix, consumer) if not m.resolution.assumed):
        lacking.append(Group("GPD201", consumer, None, "not-installed", "error", late))
    return tuple(lacking)


def _environment_fix(python: str, applicability: Applicability, *, by_path: bool) -> Fix:
    repair = f"gpudoctor fix --python {python} --apply"
    if by_path:
        title = "Let gpudoctor make the environment open them by path, since LD_LIBRARY_PATH cannot name their folder"
        return Fix(title=title, applicability=applicability, commands=(repair,))
    return Fix(
        title="Let gpudoctor make the environment find them however it is started (`gpudoctor fix --undo` takes it "
        "back), or start one program with the right paths",
        applicability=applicability,
        commands=(repair, f"gpudoctor run --python {python} -- COMMAND"),
    )


def _native_fix(binary: str, interpreter: Interpreter | None, applicability: Applicability) -> Fix:
    packages = f" --python {shlex.quote(interpreter.executable)}" if interpreter else ""
    where = f"--binary {shlex.quote(binary)}{packages}"
    return Fix(
        title="Let gpudoctor make it find them, by links or a wrapper (`gpudoctor fix --undo` takes it back), "
        "or start it with the right paths",
        applicability=applicability,
        commands=(f"gpudoctor fix {where} --apply", f"gpudoctor run {where} -- COMMAND"),
    )


def _path_fix(snapshot: Snapshot, group: Group, directories: tuple[str, ...]) -> Fix:
    interpreter = value_of(snapshot.interpreter) if snapshot.binary is None else None
    if interpreter and interpreter.secure_execution == Present(value=True):
        return Fix(
            title="Start the program with an interpreter that has no set-user-id bit and no file capabilities: this "
            "one makes the loader ignore LD_LIBRARY_PATH",
            applicability="display-only",
        )
    return Fix(
        title=f"{'Or set' if interpreter or snapshot.binary else 'Set'} LD_LIBRARY_PATH {BEFORE_START}",
        applicability=_path_applicability(snapshot, interpreter, group, directories),
        commands=(export_command(directories),),
    )


def _path_applicability(
    snapshot: Snapshot, interpreter: Interpreter | None, group: Group, directories: tuple[str, ...]
) -> Applicability:
    """A folder of the environment itself is safe as long as no other consumer gets the same family from elsewhere."""
    if interpreter is None or not all(_inside(d, interpreter) for d in directories):
        return "unsafe"
    families = {m.family.name for m in group.misses if m.family}
    for r in snapshot.resolutions:
        other = r.consumer != group.consumer and r.family in families and r.path
        if other and posixpath.normpath(posixpath.dirname(r.path or "")) not in directories:
            return "unsafe"
    return "safe"


def _inside(directory: str, interpreter: Interpreter) -> bool:
    return any(directory.startswith(root + "/") for root in (interpreter.prefix, *interpreter.site_dirs))


def _has_preload_dlls(snapshot: Snapshot, matrix: Matrix) -> bool:
    return matches_version(">=1.21", consumer_version(snapshot, matrix, "onnxruntime"))

"""Predicting what the program of a generated tree does."""

from __future__ import annotations

import signal
from collections.abc import Callable

from gpudoctor.loader.emulation import Emulation
from gpudoctor.loader.mapped import Mapped
from gpudoctor.loader.process import Process
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.target import Target
from gpudoctor.system.protocol import ReadSystem
from support.ldtrace import differences, parse_trace
from support.trees import Tree

CANNOT_START = 127


def predict_tree(tree: Tree, system: ReadSystem) -> tuple[Process, list[Mapped | None], int]:
    """Return the emulated process, the result of each step, and the exit status."""
    target = Target(str(tree.program), "/nonexistent", (), tree.environment, str(tree.root))
    process = Emulation(system, target).process()
    results: list[Mapped | None] = []
    try:
        process.start()
        for by, name in list(tree.steps):
            requester = process.main if by < 0 else results[by]
            if requester is None:  # that step failed, so its object cannot ask: the program asks instead
                tree.steps[len(results)] = (-1, name)
                requester = process.main
            results.append(_open(process, name, requester))
    except LoadError as error:
        return process, results, -signal.SIGBUS if error.failure == "truncated" else CANNOT_START
    return process, results, 0


def _open(process: Process, name: str, requester: Mapped) -> Mapped | None:
    try:
        return process.dlopen(name, requester)
    except LoadError as error:
        if error.failure == "truncated":
            raise
        return None


def compare_tree(tree: Tree, system: ReadSystem, run: Callable[[Tree], tuple[int, list[str], str]], name: str) -> int:
    """Predict what a tree's program will load, run it, and compare the whole trace.

    Args:
        tree: What was made.
        system: The machine as the emulator sees it.
        run: Runs the program; returns its status, what it opened, and the loader's trace.
        name: For the message of a failure.

    Returns:
        How many requests the loader made.
    """
    process, results, expected = predict_tree(tree, system)
    status, opened, trace = run(tree)
    where = f"{name}: {tree.environment} {tree.steps}\n"
    asked = parse_trace(trace)
    wrong = differences(process, asked, str(tree.program))
    assert not wrong, where + "\n".join(wrong)
    assert status == expected, where + trace[-2000:]
    assert opened == [m.path if m else "-" for m in results], where
    return len(asked)

"""Whatever a plan does, and wherever it stops, undoing gives back what was there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpudoctor.fix.apply import apply_plan
from gpudoctor.fix.journal import read_runs
from gpudoctor.fix.types import Action, FolderBefore, MakeFolder, MakeLink, Plan, WriteFile
from gpudoctor.fix.undo import undo_run
from gpudoctor.system.changes import CannotChange, FileState, FolderState, Nothing, RealChanges
from gpudoctor.system.real import RealSystem
from support.treestate import changed, tree_state

NAMES = st.sampled_from(["a", "b", "c", "d e", "é", "x'y"])
CONTENT = st.binary(max_size=40)
MODES = st.sampled_from([0o600, 0o640, 0o644, 0o755, 0o444])
STEPS = st.lists(st.tuples(st.sampled_from(["write", "link", "folder"]), NAMES, CONTENT, MODES), min_size=1, max_size=5)


class Stopping(RealChanges):
    """Changes that fail from one moment on, as a disk does that goes away."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def _moment(self, path: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise CannotChange(f"{path}: gone")

    def write_file(self, path: str, content: bytes, **options: object) -> None:  # type: ignore[override]
        self._moment(path)
        super().write_file(path, content, **options)  # type: ignore[arg-type]

    def make_link(self, path: str, text: str) -> None:
        self._moment(path)
        super().make_link(path, text)

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        self._moment(path)
        super().make_folder(path, mode)

    def append(self, path: str, line: bytes) -> None:
        self._moment(path)
        super().append(path, line)


def make_plan(root: Path, steps: list[tuple[str, str, bytes, int]]) -> Plan:
    """Return a plan of these steps, each name used once."""
    actions: list[Action] = []
    changes = RealChanges()
    for kind, name, content, mode in {step[1]: step for step in steps}.values():
        path = str(root / name)
        state = changes.state(path)
        if kind == "write" and isinstance(state, (Nothing, FileState)):
            former = changes.read(path) if isinstance(state, FileState) else None
            kept = state.mode if isinstance(state, FileState) else mode
            if content != former:
                actions.append(WriteFile(path, content, kept, state, former, "test"))
        elif kind == "link" and isinstance(state, Nothing):
            actions.append(MakeLink(path, content.hex() or ".", "test"))
        elif kind == "folder" and isinstance(state, Nothing):
            actions.append(MakeFolder(path, 0o755, "test"))
            actions.append(WriteFile(f"{path}/inner", content, mode, Nothing(), None, "test"))
    folder = changes.state(str(root))
    assert isinstance(folder, FolderState)
    return Plan(
        prefix=str(root),
        python="",
        snapshot_digest="",
        strategy="hook",
        why="",
        scope="",
        risk="",
        applicability="safe",
        consumers=(),
        targets=(),
        actions=tuple(actions),
        folders=(FolderBefore(str(root), folder),),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, st.tuples(CONTENT, MODES), max_size=4), STEPS, st.integers(0, 20), st.booleans())
def test_apply_then_undo_is_nothing(
    files: dict[str, tuple[bytes, int]], steps: list[tuple[str, str, bytes, int]], moment: int, twice: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, journals = Path(folder) / "env", f"{folder}/journals"
        root.mkdir()
        for name, (content, mode) in files.items():
            (root / name).write_bytes(content)
            (root / name).chmod(mode)
            os.utime(root / name, ns=(10**18, 10**18 + len(content)))
        before = tree_state(root)
        plan = make_plan(root, steps)
        system = RealSystem()
        with contextlib.suppress(CannotChange):
            apply_plan(system, Stopping(moment), journals, plan)
        for run in read_runs(system, journals):
            assert undo_run(system, RealChanges(), run) == ()
            if twice:
                assert undo_run(system, RealChanges(), run) == ()
        assert changed(before, tree_state(root)) == []

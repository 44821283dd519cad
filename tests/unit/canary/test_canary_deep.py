"""A verdict after a deep check that could not be made."""

from __future__ import annotations

import pytest

from gpudoctor.canary.deep import deepen
from gpudoctor.loader.target import Target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.rules.engine import judge
from gpudoctor.system.memory import MemorySystem
from unit.rules.builders import machine

MATRIX = load_matrix()
TARGET = Target(executable="/usr/bin/python3", prefix="/usr", site_dirs=(), environment={}, cwd="/")


@pytest.mark.parametrize(
    ("select", "ignore", "is_open"),
    [((), (), True), (("GPD2",), (), True), ((), ("GPD211",), False), (("driver-missing",), (), False)],
)
def test_it_is_open_where_it_was_asked_for(select: tuple[str, ...], ignore: tuple[str, ...], *, is_open: bool) -> None:
    verdict = judge(machine(), MATRIX, select, ignore)
    deep = deepen(MemorySystem(os_name="macos"), MATRIX, TARGET, machine(), verdict, select=select, ignore=ignore)
    assert [q.rule for q in deep.open if q not in verdict.open] == ["GPD211"] * is_open
    assert deep.required_open == (is_open or verdict.required_open)

"""A journal that cannot be read: nobody can tell whether a repair was killed, and nothing says that none was."""

from __future__ import annotations

import pytest

from gpudoctor.fix.journal import journals_of, read_runs
from gpudoctor.fix.places import has_journals
from gpudoctor.fix.rules import bound_rules
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.finding import Open, Pass
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.protocol import CannotLook
from unit.rules.builders import machine

ENVIRONMENT = {"HOME": "/home/user"}
PREFIX = "/srv/app/.venv"
FOLDER = journals_of(MemorySystem({}), ENVIRONMENT, PREFIX)
RUN = f"{FOLDER}/20261121T173915Z-1"
UNREADABLE = {
    "all journals": FOLDER.rpartition("/")[0],
    "those of the environment": FOLDER,
    "the plan of a run": f"{RUN}/plan.json",
}


def answer(system: MemorySystem) -> object:
    (rule,) = bound_rules(system, ENVIRONMENT, PREFIX, f"{PREFIX}/bin/python")
    return rule.evaluate(machine(), load_matrix())[0]


@pytest.mark.parametrize("path", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_open(path: str) -> None:
    system = MemorySystem({f"{RUN}/plan.json": "{}"}, unreadable=[path])
    found = answer(system)
    assert isinstance(found, Open)
    assert "cannot be read" in found.reason
    assert has_journals(system, ENVIRONMENT)
    with pytest.raises(CannotLook, match="the journal of repairs"):
        read_runs(system, FOLDER)


@pytest.mark.parametrize("files", [{}, {f"{RUN}/plan.json": "{"}], ids=["no journal", "a plan that was cut off"])
def test_what_never_began_is_fine(files: dict[str, str]) -> None:
    assert isinstance(answer(MemorySystem(files)), Pass)

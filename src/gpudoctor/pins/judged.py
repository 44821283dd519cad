"""What gpudoctor's own rules say of a set: judged like a requirements file of exact pins."""

from __future__ import annotations

import msgspec

from gpudoctor.lint.judge import ask_rules, make_scene
from gpudoctor.lint.read import Environment
from gpudoctor.lint.target import Target
from gpudoctor.lint.types import Parts, Requirement
from gpudoctor.matrix.gpus import KnownGpu
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Fail, Finding, Location
from gpudoctor.model.pins import PinsDocument
from gpudoctor.pins.types import Machine
from gpudoctor.rules.engine import sort_findings

_PLACE = Location(file="pins")
# That the loader must be told where the wheels' libraries are is what the document's library_directories say.
_ANSWERED = ("GPD201", "GPD206")


def judge_pins(matrix: Matrix, machine: Machine, document: PinsDocument) -> PinsDocument:
    """Return a document with the findings of the rules on its set; one of level error makes the status 1."""
    requirements = [
        Requirement(place=_PLACE, name=pin.package, specifier=f"=={pin.version}", index=pin.index, locked=True)
        for pin in document.pins
    ]
    target = Target(
        driver=machine.driver,
        gpus=tuple(
            KnownGpu(name=name, compute_capability=cc, memory_bytes=None, tegra=machine.tegra)
            for name, cc in machine.gpus
        ),
        python=machine.python,
        platform=machine.platform,
    )
    scene = make_scene(Environment(files=["pins"], parts=Parts(requirements=requirements)), matrix, target)
    found: dict[Finding, None] = {}
    for _, answers in ask_rules(scene):
        failures = [answer.finding for answer in answers if isinstance(answer, Fail)]
        found |= {_without_place(finding): None for finding in failures if finding.rule not in _ANSWERED}
    findings = sort_findings(tuple(found))
    failed = any(finding.level == "error" for finding in findings)
    return msgspec.structs.replace(document, findings=findings, exit_status=1 if failed else document.exit_status)


def _without_place(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, location=None)

"""One root cause, one headline: which findings are symptoms of which."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gpudoctor.model.finding import Finding

_BUILT_FOR = "built for CUDA "

Relation = Callable[[Finding, Finding], bool]


class Fold(msgspec.Struct, frozen=True):
    """One way in which a finding follows from another.

    Attributes:
        head: Rule ids of the root cause.
        symptoms: Rule ids that follow from it.
        holds: Whether this symptom follows from this head.
    """

    head: tuple[str, ...]
    symptoms: tuple[str, ...]
    holds: Relation


def _always(head: Finding, symptom: Finding) -> bool:
    del head, symptom
    return True


def _same_consumer(head: Finding, symptom: Finding) -> bool:
    return head.subject == symptom.subject


def _same_cause(head: Finding, symptom: Finding) -> bool:
    return head.cause == symptom.cause


def _broken_by_shadow(head: Finding, symptom: Finding) -> bool:
    return _same_consumer(head, symptom) and (symptom.level == "error" or _same_cause(head, symptom))


def _cpu_package_won(head: Finding, symptom: Finding) -> bool:
    """While the CPU package is on disk, nothing of the GPU package is opened at all."""
    winner = next((e.value for e in head.evidence if e.label == "on disk"), "")
    return winner == "onnxruntime" and symptom.subject.name == "onnxruntime"


def _driver_is_too_old_for_it(head: Finding, symptom: Finding) -> bool:
    """With a newer driver a library for another CUDA loads and may work: then it is no error any more."""
    return head.subject.kind == "driver" and symptom.level == "error"


def _same_package(head: Finding, symptom: Finding) -> bool:
    """A torchcodec for another torch wants the CUDA libraries of that torch, and the driver of those."""
    return head.subject.name == symptom.subject.name


def _other_build_mends_both(head: Finding, symptom: Finding) -> bool:
    """Tell whether the driver is too old for that package alone which is to be installed for another CUDA anyway."""
    compared = {e.label.removeprefix("CUDA of "): e.value for e in head.evidence if e.label.startswith("CUDA of ")}
    mine = compared.pop(head.subject.name, "").partition(".")[0]
    refused = {e.label: e.value for e in symptom.evidence if e.value.startswith(_BUILT_FOR)}
    majors = {value.removeprefix(_BUILT_FOR).partition(".")[0] for value in refused.values()}
    return bool(refused) and refused.keys() <= compared.keys() and mine not in majors


def _build_is_to_be_replaced(head: Finding, symptom: Finding) -> bool:
    """What a build without code for any GPU misses is not worth installing. The code of cuDNN is another matter."""
    about_cudnn = any(e.label == "cuDNN" for e in head.evidence)
    return head.level == "error" and not about_cudnn and _same_consumer(head, symptom)


def _path_is_ignored(head: Finding, symptom: Finding) -> bool:
    """The files lie in a folder of LD_LIBRARY_PATH, and the loader drops the variable."""
    folders = next((e.value for e in head.evidence if e.label == "value"), "").replace(";", ":").split(":")
    places = [e.value for e in symptom.evidence if e.label == "installed at"]
    return head.level == "error" and bool(places) and all(any(p == f.rstrip("/") for f in folders) for p in places)


FOLDS: tuple[Fold, ...] = (
    Fold(("GPD101", "GPD103", "GPD105", "GPD601", "GPD602", "GPD604"), ("GPD106",), _always),
    Fold(("GPD108", "GPD109"), ("GPD106",), _same_cause),
    Fold(("GPD104", "GPD111"), ("GPD107",), _always),
    Fold(("GPD104",), ("GPD210",), _driver_is_too_old_for_it),
    Fold(("GPD302",), ("GPD303",), _same_consumer),
    Fold(("GPD302",), ("GPD201", "GPD202", "GPD203", "GPD206", "GPD210"), _build_is_to_be_replaced),
    Fold(("GPD103",), ("GPD105",), _always),
    Fold(("GPD401",), ("GPD201", "GPD202", "GPD203", "GPD206"), _cpu_package_won),
    Fold(("GPD402",), ("GPD104", "GPD201", "GPD203", "GPD210"), _same_package),
    Fold(("GPD402",), ("GPD104",), _other_build_mends_both),
    Fold(("GPD504",), ("GPD201",), _path_is_ignored),
    Fold(("GPD201", "GPD202", "GPD203", "GPD204", "GPD205"), ("GPD503",), _broken_by_shadow),
)


def fold(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the headlines, with what follows from each listed among its consequences."""
    owner: dict[int, int] = {}
    for rule in FOLDS:
        for h, head in enumerate(findings):
            if head.rule not in rule.head or h in owner:
                continue
            for s, symptom in enumerate(findings):
                if s != h and s not in owner and symptom.rule in rule.symptoms and rule.holds(head, symptom):
                    owner[s] = h
    return tuple(_with_symptoms(i, findings, owner) for i in range(len(findings)) if i not in owner)


def _with_symptoms(index: int, findings: tuple[Finding, ...], owner: dict[int, int]) -> Finding:
    """Collect symptoms of symptoms, too."""
    collected: list[str] = []
    for s, h in owner.items():
        if h == index:
            below = _with_symptoms(s, findings, owner)
            collected += [below.message, *below.consequences]
    if not collected:
        return findings[index]
    finding = findings[index]
    return msgspec.structs.replace(finding, consequences=tuple(dict.fromkeys((*finding.consequences, *collected))))

"""The five-second summary: one line per area with its verdict."""

from __future__ import annotations

import msgspec

from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Finding, Report
from gpudoctor.model.loading import Resolution
from gpudoctor.model.machine import Gpu
from gpudoctor.model.snapshot import Snapshot

GIB = 1 << 30
_NOT_LOADED = ("GPD201", "GPD202", "GPD203")
_MOST_NAMES = 2
_OF_SETTINGS = ("GPD911", "GPD912")
_NO_PYTHON = "no Python environment judged"
_RANK = {"error": 0, "warning": 1, "open": 2, "note": 3, "ok": 4, "skip": 5}


class Area(msgspec.Struct, frozen=True):
    """One line of the summary.

    Attributes:
        name: `driver`, a consumer's name, `packages`, `variables`.
        verdict: `error`, `warning`, `open`, `note`, `ok` or `skip`.
        text: What is there, or what is wrong.
    """

    name: str
    verdict: str
    text: str


def summarize(report: Report, snapshot: Snapshot) -> tuple[Area, ...]:
    """Return the areas of a report, machine first."""
    consumers = tuple(dict.fromkeys(r.consumer for r in snapshot.resolutions))
    idle = _idle_areas(consumers, snapshot)
    areas = (
        _driver_area(report, snapshot),
        *(_consumer_area(name, report, snapshot) for name in consumers),
        *idle,
        *(() if consumers or idle else _no_consumers(report, snapshot)),
        _rest_area("packages", ("distribution", "target"), ("GPD3", "GPD4"), report, _packages_text(snapshot)),
        _rest_area("variables", ("variable", "library"), ("GPD5",), report, _variables_text(snapshot)),
        *_settings_area(report),
    )
    return tuple(_with_ignored(area, report) for area in areas) if report.ignored else areas


def _with_ignored(area: Area, report: Report) -> Area:
    """Say so where an area would look clean only because its findings are ignored."""
    count = sum(_area_of(item.finding) == area.name for item in report.ignored)
    if not count:
        return area
    verdict = "note" if area.verdict == "ok" else area.verdict
    return Area(area.name, verdict, f"{area.text}; {count} ignored by {report.config}")


def _area_of(finding: Finding) -> str:
    kind = finding.subject.kind
    if kind == "consumer":
        return finding.subject.name
    return {"driver": "driver", "gpu": "driver", "host": "driver", "variable": "variables", "library": "variables"}.get(
        kind, "packages"
    )


def _worst(findings: tuple[Finding, ...], report: Report, *families: str) -> str:
    """Return the verdict of an area: its worst finding, or `open` where a rule of these families could not judge."""
    worst = min((f.level for f in findings), key=_RANK.__getitem__, default="ok")
    if worst == "ok" and any(q.rule.startswith(families) for q in report.open):
        return "open"
    return worst


def _with_unasked(area: Area, report: Report, *families: str) -> Area:
    """Say so where an area would look clean only because the rules on it were not asked."""
    unasked = [rule for rule in report.not_asked if rule.startswith(families)]
    if area.verdict != "ok" or not unasked:
        return area
    names = ", ".join(unasked[:_MOST_NAMES]) + (f" and {len(unasked) - _MOST_NAMES} more" if unasked[2:] else "")
    return Area(area.name, "open", f"{area.text}; not asked: {names}")


def _no_consumers(report: Report, snapshot: Snapshot) -> tuple[Area, ...]:
    """Say so where nothing that gpudoctor judges is there: most likely another environment was meant."""
    if snapshot.binary is not None or report.target.binary is not None:
        return ()
    text = "none of ctranslate2, torch and onnxruntime is installed here; --python names another environment"
    return (Area("consumers", "skip", text),)


def _driver_area(report: Report, snapshot: Snapshot) -> Area:
    findings = tuple(f for f in report.findings if f.subject.kind in ("driver", "gpu", "host"))
    verdict = _worst(findings, report, "GPD1", "GPD6")
    text = _driver_text(snapshot)
    if verdict == "ok" and not isinstance(snapshot.driver.release, Present):
        verdict = "open"
    if verdict == "ok" and not isinstance(snapshot.gpus, Present):
        verdict = "open"
    return _with_unasked(Area("driver", verdict, text), report, "GPD1", "GPD6")


def _driver_text(snapshot: Snapshot) -> str:
    driver = snapshot.driver
    match driver.release:
        case Present(release):
            cuda = value_of(driver.cuda_version)
            parts = [f"NVIDIA {release}" + (" (assumed)" if driver.assumed else "")]
            if cuda:
                parts.append(f"serves CUDA up to {cuda}")
        case Absent():
            parts = ["no NVIDIA driver"]
        case Unknown(reason):
            parts = [f"could not look: {reason}"]
    match snapshot.gpus:
        case Present(gpus):
            parts.append("; ".join(_gpu_text(g) for g in gpus) or "no GPU")
        case Unknown(reason) if isinstance(driver.release, Present):
            parts.append(f"GPUs could not be read: {reason}")
        case _:
            pass
    return ", ".join(parts)


def _gpu_text(gpu: Gpu) -> str:
    text = value_of(gpu.name) or f"GPU {gpu.index}"
    capability, memory = value_of(gpu.compute_capability), value_of(gpu.memory_total_bytes)
    details = [f"compute capability {capability}"] if capability and capability not in text else []
    if memory:
        details.append(f"{memory / GIB:.0f} GiB")
    if error := value_of(gpu.error):
        details.append(error.message)
    return f"{text} ({', '.join(details)})" if details else text


def _consumer_area(name: str, report: Report, snapshot: Snapshot) -> Area:
    findings = tuple(f for f in report.findings if f.subject.kind == "consumer" and f.subject.name == name)
    rows = tuple(r for r in snapshot.resolutions if r.consumer == name)
    verdict = _worst(findings, report)
    unknown = next((r for r in rows if r.outcome == "unknown"), None)
    if verdict in ("ok", "note") and (unknown is not None or any(_is_lost_perhaps(r) for r in rows)):
        verdict = "open"
    text = _consumer_text(findings, rows, unknown)
    if snapshot.binary is not None:  # no metadata tells the release of a native program
        return _with_unasked(Area(name, verdict, text), report, "GPD2")
    build = snapshot.build(name)
    version = (value_of(build.version) if build else None) or "?"
    return _with_unasked(Area(name, verdict, f"{version}: {text}"), report, "GPD2", "GPD3")


def _is_lost_perhaps(row: Resolution) -> bool:
    return row.assumed and row.outcome == "absent"


def _consumer_text(findings: tuple[Finding, ...], rows: tuple[Resolution, ...], unknown: Resolution | None) -> str:
    bad = [f for f in findings if f.level in ("error", "warning")]
    if bad:
        return "; ".join(_troubles(bad))
    if unknown is not None:
        return f"not judged: {unknown.reason or 'could not look'}"
    present = {r.role for r in rows if r.outcome == "present"}
    lost = sum(_is_lost_perhaps(r) for r in rows)
    perhaps = f", {lost} that it may open {'is' if lost == 1 else 'are'} nowhere" if lost else ""
    return f"{len(present)} GPU librar{'y resolves' if len(present) == 1 else 'ies resolve'}{perhaps}"


def _troubles(bad: list[Finding]) -> tuple[str, ...]:
    """Return what is wrong in a few words each: the libraries that will not load, then the names of other faults."""
    lost = [e.value for f in bad if f.rule in _NOT_LOADED for e in f.evidence if e.label == "wanted"]
    names = tuple(dict.fromkeys(name for value in lost for name in value.split(", ")))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    told = (f"{', '.join(names[:_MOST_NAMES])}{more} will not load",) if names else ()
    others = (_short(f) for f in bad if f.rule not in _NOT_LOADED or not names)
    return (*told, *dict.fromkeys(others))


def _short(finding: Finding) -> str:
    """Return a fault in a few words: its name, unless that says too little."""
    if finding.rule == "GPD206":
        wanted = next((e.value for e in finding.evidence if e.label == "wanted"), "a library")
        return f"finds {wanted} only after torch was imported"
    return finding.name.replace("-", " ")


def _idle_areas(judged: tuple[str, ...], snapshot: Snapshot) -> tuple[Area, ...]:
    """Consumers that are installed but open no GPU library: CPU builds, or ones nobody could emulate."""
    areas = []
    for build in snapshot.builds if snapshot.binary is None else ():
        if build.package in judged or build.package not in ("ctranslate2", "torch", "onnxruntime", "torchcodec"):
            continue
        version = value_of(build.version) or "?"
        if build.gpu == Present(value=False):
            areas.append(Area(build.package, "skip", f"{version}: a CPU build, opens no GPU library"))
        else:
            areas.append(Area(build.package, "open", f"{version}: its libraries were not judged"))
    return tuple(areas)


def _packages_text(snapshot: Snapshot) -> str:
    interpreter = value_of(snapshot.interpreter)
    if interpreter is None:
        return _NO_PYTHON
    count = len({d.name for d in snapshot.distributions})
    text = f"{count} distributions"
    return text + (f"; sys.path not fully known: {interpreter.path_unknowns[0]}" if interpreter.path_unknowns else "")


def _variables_text(snapshot: Snapshot) -> str:
    value = snapshot.variable("LD_LIBRARY_PATH")
    if value is None:
        return "LD_LIBRARY_PATH is not set"
    count = len(snapshot.search_elements)
    return f"LD_LIBRARY_PATH has {count} element{'s' if count != 1 else ''}"


def _settings_area(report: Report) -> tuple[Area, ...]:
    """Return an area for the project's own settings, where something is wrong with them."""
    findings = tuple(f for f in report.findings if f.rule in _OF_SETTINGS)
    text = "; ".join(dict.fromkeys(f"{f.name.replace('-', ' ')} in {report.config}" for f in findings))
    return (Area("settings", findings[0].level, text),) if findings else ()


def _rest_area(name: str, kinds: tuple[str, ...], families: tuple[str, ...], report: Report, text: str) -> Area:
    findings = tuple(f for f in report.findings if f.subject.kind in kinds and f.rule not in _OF_SETTINGS)
    verdict = _worst(findings, report, *families)
    if verdict in ("error", "warning"):
        text = "; ".join(dict.fromkeys(f.name.replace("-", " ") for f in findings if f.level == verdict))
    if verdict == "ok" and text == _NO_PYTHON:
        verdict = "skip"
    return _with_unasked(Area(name, verdict, text), report, *families)

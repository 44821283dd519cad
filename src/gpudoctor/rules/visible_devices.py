"""GPD506: which GPUs the process will see, and whether somebody meant that."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Evidence, Fail, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.devices import VARIABLE, Device, Selection, all_devices, gpu_name, judged_value, selection
from gpudoctor.rules.pages import gpu as pages
from gpudoctor.rules.reading import evidence, has_driver, items_of, listed, pci_devices

_MOST_SHOWN = 80
_SUBJECT = Subject(kind="variable", name=VARIABLE)


def _visible(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    value = judged_value(snapshot)
    gpus = items_of(snapshot.gpus)
    if gpus and not all_devices(snapshot):
        return (_no_slices(snapshot),)
    if value is None:
        return (NotApplicable(f"{VARIABLE} is not set"),)
    chosen = selection(snapshot)
    if chosen.kind == "hidden" and (gpus or _may_have_one(snapshot)):
        return (_hidden(snapshot, value),)
    match snapshot.gpus:
        case Absent():
            return (NotApplicable("there is no GPU to choose from"),)
        case Unknown(reason=reason):
            if not _may_have_one(snapshot):
                return (NotApplicable("there is no GPU to choose from"),)
            return (Open(f"nobody can tell which GPUs {VARIABLE}={_quoted(value)} names: {reason}", VARIABLE),)
        case Present():
            return (_judge(snapshot, value, chosen),)


def _may_have_one(snapshot: Snapshot) -> bool:
    return has_driver(snapshot) and not isinstance(pci_devices(snapshot), Absent)


def _judge(snapshot: Snapshot, value: str, chosen: Selection) -> Evaluation:
    if chosen.doubt:
        return Open(f"nobody can tell which GPUs {VARIABLE}={_quoted(value)} names: {chosen.doubt}", VARIABLE)
    if chosen.kind != "stopped":
        return Pass(VARIABLE)
    return _stopped(snapshot, value, chosen)


def _hidden(snapshot: Snapshot, value: str) -> Fail:
    return visible_devices.fail(
        _SUBJECT,
        f"{VARIABLE}={_quoted(value)} hides every GPU from this process, so everything runs on the CPU or stops with "
        "“no CUDA-capable device is detected”.",
        cause="wrong-device-selected",
        level="warning",
        evidence=_seen(snapshot, value),
        fixes=(_UNSET,),
    )


def _stopped(snapshot: Snapshot, value: str, chosen: Selection) -> Fail:
    entry, left = chosen.stopped_at or "", chosen.devices
    twice = any(part.strip() == entry for part in value.split(",")[: len(left)])
    fault = (
        f"names {_quoted(entry)} twice"
        if twice
        else f"names {_quoted(entry)}, which is no device here ({_choice(snapshot)})"
    )
    if twice:
        what = "CUDA does not document what follows: fewer devices than are meant, or none"
    elif left:
        what = f"CUDA stops reading there, so this process sees only {listed([_called(d) for d in left])}"
    else:
        what = "so this process sees no GPU at all"
    return visible_devices.fail(
        _SUBJECT,
        f"{VARIABLE}={_quoted(value)} {fault}; {what}.",
        cause="wrong-device-selected",
        level="warning" if left else "error",
        evidence=_seen(snapshot, value),
        fixes=(_advice(entry), _UNSET),
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…")


def _called(device: Device) -> str:
    return f"a slice of {gpu_name(device.gpu)}" if device.slice else gpu_name(device.gpu)


def _choice(snapshot: Snapshot) -> str:
    count = len(all_devices(snapshot))
    return "the only index is 0" if count == 1 else f"indices go from 0 to {count - 1}"


def _advice(entry: str) -> Fix:
    if entry.lower() == "all":
        title = f"“all” is a value of NVIDIA_VISIBLE_DEVICES, for containers; {VARIABLE} takes indices or UUIDs"
    elif entry.lower().startswith("cuda"):
        title = "“cuda:N” is torch's way to name a device; the variable takes the number alone"
    else:
        title = "Name a device that is there, by the index or the UUID that nvidia-smi lists"
    return Fix(title=title, applicability="display-only", commands=("nvidia-smi -L",))


_UNSET = Fix(
    title=f"Or unset {VARIABLE} where the process is started: every GPU is visible then",
    applicability="display-only",
    commands=(f"unset {VARIABLE}",),
)


def _no_slices(snapshot: Snapshot) -> Fail:
    gpus = items_of(snapshot.gpus)
    return visible_devices.fail(
        Subject(kind="gpu", name=gpu_name(gpus[0])),
        f"MIG mode is on for {listed([gpu_name(g) for g in gpus])}, and no MIG device has been made, so no process can "
        "use the GPU.",
        cause=None,
        reason="the list of causes has none for a GPU that was not divided",
        level="error",
        evidence=evidence(("MIG devices", "none"), (VARIABLE, snapshot.variable(VARIABLE))),
        fixes=(
            Fix(
                title="Make MIG devices, or switch MIG mode off (both need root and a GPU that nobody uses)",
                applicability="display-only",
                commands=("sudo nvidia-smi mig -lgip", "sudo nvidia-smi -mig 0"),
            ),
        ),
    )


def _seen(snapshot: Snapshot, value: str) -> tuple[Evidence, ...]:
    source = next((v.source for v in snapshot.variables if v.name == VARIABLE), None)
    devices = [f"{i}: {_called(d)} {_uuid(d)}".strip() for i, d in enumerate(all_devices(snapshot))]
    return evidence(("value", _quoted(value)), ("set by", source), ("devices", "; ".join(devices[:16]) or "not known"))


def _uuid(device: Device) -> str:
    return value_of(device.slice.uuid if device.slice else device.gpu.uuid) or ""


visible_devices = Rule(
    id="GPD506",
    name="visible-devices",
    title="CUDA_VISIBLE_DEVICES hides GPUs, or names one that is not there",
    level="error",
    causes=("wrong-device-selected",),
    page=pages.GPD506,
    evaluate=_visible,
)

"""GPD501, GPD502, GPD505, GPD561 and what was not understood: variables, links, lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gpudoctor.lint.paths import without_commands
from gpudoctor.lint.scene import Scene, edit, say
from gpudoctor.lint.types import Link, Setting
from gpudoctor.model.finding import Evaluation, Location, Open, Pass, Subject
from gpudoctor.rules.base import Rule
from gpudoctor.rules.reading import listed

Rules = Mapping[str, Rule]

_GUARDED = re.compile(r"\$\{LD_LIBRARY_PATH:?[+][^}]*\}")
_OWN = re.compile(r"\$\{?LD_LIBRARY_PATH\}?")
_PYTHON_FOLDER = re.compile(r"/python(3\.\d+)/")
_LOADER = re.compile(r"\$\{?(ORIGIN|LIB|PLATFORM)\}?")
_GPU_WORD = re.compile(r"cuda|gpu|nvidia|torch|whisper|triton|\btts\b|\bstt\b|\basr\b", re.IGNORECASE)
_MOST_PUZZLES = 20
_PATH = "LD_LIBRARY_PATH"
_UNSET_SAFE = "${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
_SYSTEM = re.compile(r"(/usr(/local)?)?/(lib|lib64)(/[a-z0-9_]+-linux-gnu)?/?")
_VENDOR = re.compile(r"nvidia/(cudnn|cublas|cuda_\w+|cufft|cu13)|libcudnn|libcublas|libcudart|libcufft")


def judge_settings(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield what is wrong with LD_LIBRARY_PATH as the files set it."""
    for setting in scene.parts.settings:
        if setting.name != _PATH:
            continue
        found = [
            *_literal(rules, setting),
            *_empty(scene, rules, setting),
            *_other_python(scene, rules, setting),
        ]
        yield from found or [Pass(_PATH)]


def _variable() -> Subject:
    return Subject(kind="variable", name=_PATH)


def _literal(rules: Rules, setting: Setting) -> Iterator[Evaluation]:
    value = without_commands(setting.value)
    if setting.expanded:
        quoted = '"' in value or "'" in value
        bad = "a quotation mark" if quoted else "~" if re.search(r"(^|:)~", value) else None
    else:
        left = _LOADER.sub("", value)
        bad = "a variable" if "$" in left else "~" if re.search(r"(^|:)~", left) else None
    # Compose fills variables in, from the shell that starts it: an own reference there is the empty element's.
    if bad is None or (not setting.expanded and _is_compose(setting) and "$$" not in setting.raw):
        return
    yield say(
        rules["GPD505"],
        _variable(),
        f"LD_LIBRARY_PATH is set to {setting.value!r}, with {bad} that nobody fills in here: the loader takes it "
        "as written.",
        setting.place,
        cause=None,
        confidence="read",
        level="warning",
        reason="a folder that is not searched; what is lost by it, other findings say",
        evidence=(("value", setting.value),),
        fixes=(edit("Write the folder in full"),),
    )


def _is_compose(setting: Setting) -> bool:
    return "compose" in setting.place.file.rpartition("/")[2]


def _empty(scene: Scene, rules: Rules, setting: Setting) -> Iterator[Evaluation]:
    """Find an element that is empty: as written, or where the variable was not set before."""
    value = _GUARDED.sub("", without_commands(setting.value))
    own = bool(_OWN.search(value))
    if own and (setting.inherited or _is_set_by_base(scene, setting)):
        return
    if own and not setting.expanded and not _is_compose(setting):
        return  # it stays as written: that is GPD505's
    filled = _OWN.sub("", value)
    if not filled or not any(not element for element in filled.split(":")):
        return
    why = (
        "nothing here sets the variable before, so a colon stays at its end" if own else "one of its elements is empty"
    )
    yield say(
        rules["GPD502"],
        _variable(),
        f"LD_LIBRARY_PATH is set to {setting.value!r}: {why}, and an empty element means the folder that a program "
        "happens to be started in.",
        setting.place,
        cause=None,
        confidence="read",
        level="warning",
        reason="nothing fails until a library lies in that folder",
        evidence=(("value", setting.value),),
        fixes=(edit(f"Write {_corrected(setting.value)}"),),
    )


def _corrected(value: str) -> str:
    parts = [p for p in value.split(":") if p and not _OWN.fullmatch(p)]
    return ":".join(parts) + (_UNSET_SAFE if _OWN.search(value) else "")


def _is_set_by_base(scene: Scene, setting: Setting) -> bool:
    """Tell whether the base image sets the variable, or may: an image that nobody knows."""
    del setting
    return any(i.sets_path or not i.known for i in scene.images)


def _other_python(scene: Scene, rules: Rules, setting: Setting) -> Iterator[Evaluation]:
    python = scene.target.python
    if python is None:
        return
    short = ".".join(python.split(".")[:2])
    for element in without_commands(setting.value).split(":"):
        match = _PYTHON_FOLDER.search(element)
        if match and match[1] != short:
            yield say(
                rules["GPD501"],
                _variable(),
                f"LD_LIBRARY_PATH names {element}, a folder of Python {match[1]}; the Python here is {short}, so the "
                "folder will not be there, and its libraries will not be found.",
                setting.place,
                cause="cuda-lib-not-loadable",
                confidence="read",
                level="warning",
                evidence=(("element", element), ("Python", short)),
                fixes=(edit(f"Write {element.replace(f'python{match[1]}', f'python{short}')}"),),
            )


def judge_links(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD561: libraries of a wheel that are linked into a program's folder, one finding a folder."""
    by_folder: dict[str, list[Link]] = {}
    for link in scene.parts.links:
        if _VENDOR.search(link.source) and not _SYSTEM.fullmatch(link.folder):
            by_folder.setdefault(link.folder, []).append(link)
    for folder, links in by_folder.items():
        unpinned = sorted(
            {n for n, c in scene.plan.packages.items() if _VENDOR_WHEEL.match(n) and c.lines and not c.pinned}
        )
        plural = "are" if len(unpinned) > 1 else "is"
        moved = f"; {listed(unpinned)} {plural} not pinned, so the next run may move them" if unpinned else ""
        yield say(
            rules["GPD561"],
            Subject(kind="target", name=folder),
            f"Libraries of NVIDIA's wheels are linked into {folder}: the program there finds them, however it is "
            f"started; the links belong to no package, so an upgrade of the wheel leaves them broken or mixed{moved}.",
            links[0].place,
            cause=None,
            confidence="read",
            reason="nothing is wrong until something is upgraded",
            evidence=tuple(("link", f"{_at(link.place)} {link.source}") for link in links[:6]),
            fixes=(
                edit("Pin the wheels, and link all of their files anew after each upgrade"),
                edit("Or set LD_LIBRARY_PATH where the program is started"),
            ),
        )


_VENDOR_WHEEL = re.compile(r"nvidia-(cudnn|cublas|cuda|cufft)")


def judge_puzzles(scene: Scene) -> Iterator[Evaluation]:
    """Yield what could not be understood: each line is an open question."""
    said: dict[str, int] = {}
    for puzzle in scene.parts.puzzles:
        file = puzzle.place.file
        said[file] = said.get(file, 0) + 1
        if said[file] > _MOST_PUZZLES:
            continue
        text = f" ({puzzle.text})" if puzzle.text else ""
        yield Open(f"{_at(puzzle.place)}: not understood{text}: {puzzle.reason}", puzzle.text)
    for file, number in said.items():
        if number > _MOST_PUZZLES:
            yield Open(f"{file}: {number - _MOST_PUZZLES} more of its lines were not understood", file)
    for image in scene.images:
        if not image.known and not _is_beside_the_point(scene, image.image.reference):
            reference = image.image.reference
            yield Open(f"{_at(image.image.place)}: what the base image {reference} holds is not known", reference)
    doubtful = {r.name: r for r in reversed(scene.plan.doubts) if scene.matrix.releases(r.name)}
    for requirement in reversed(doubtful.values()):
        marker = "" if requirement.locked else f" ({requirement.marker})"
        yield Open(
            f"{_at(requirement.place)}: whether this {requirement.name} is installed depends on its marker{marker}; "
            "--python-version decides it",
            requirement.name,
        )


def _is_beside_the_point(scene: Scene, reference: str) -> bool:
    """Tell whether an unknown image is a database or a proxy: a service gets no GPU, and its name speaks of none."""
    services = scene.parts.services
    return bool(services) and not any(s.gpu or s.gpu is None for s in services) and not _GPU_WORD.search(reference)


def _at(place: Location) -> str:
    return f"{place.file}:{place.line}" if place.line else place.file

"""The YAML kinds: conda environment.yml, compose files, GitHub workflows."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.lint.commands import Word, read_conda
from gpudoctor.lint.dockerfile import expand
from gpudoctor.lint.requirements import Options, parse_requirements, read_requirement
from gpudoctor.lint.shell import WATCHED, ShellReader
from gpudoctor.lint.start import read_start
from gpudoctor.lint.types import Image, Parts, Puzzle, PythonVersion, Reference, Service, Setting
from gpudoctor.lint.yamlfile import Mapping, Scalar, Value, at, each, pairs, parse_yaml, text_of
from gpudoctor.model.errors import InputFileError
from gpudoctor.model.finding import Location

_GITHUB_EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)


# --- conda -----------------------------------------------------------------------------------------------------------


def parse_conda(text: str, file: str) -> Parts:
    """Return the parts of a conda environment file, its pip section too.

    Raises:
        InputFileError: It is no YAML, or no environment.
    """
    top = _mapping(text, file, "dependencies", "a conda environment")
    parts = Parts()
    for item in each(top.get("dependencies")):
        if isinstance(item, Scalar):
            read_conda(item.text, at(file, item), parts)
        for name, lines in pairs(item):
            if name.text == "pip":
                _pip_lines(lines, file, parts)
    return parts


def _pip_lines(lines: Value, file: str, parts: Parts) -> None:
    whole = "\n".join(text_of(line) or "" for line in each(lines))
    options = Options()
    for written in whole.splitlines():  # an index option holds for the whole section
        option = parse_requirements(f"{written}\nx", file).requirements if written.startswith("-") else []
        if option and (option[0].index or option[0].extra_indexes):
            extra = (*options.extra_indexes, *option[0].extra_indexes)
            options = Options(index=option[0].index or options.index, extra_indexes=extra)
    for line in each(lines):
        if not isinstance(line, Scalar):
            continue
        if line.text.startswith("-"):
            parts.references += parse_requirements(line.text, file, options).references
        else:
            read_requirement(line.text, at(file, line), options, parts)


def _mapping(text: str, file: str, key: str, what: str) -> Mapping:
    top = parse_yaml(text, file)
    if not isinstance(top, Mapping) or top.get(key) is None:
        raise InputFileError(f"{file}:1: it is not {what}: it has no `{key}:`")
    return top


# --- compose ---------------------------------------------------------------------------------------------------------


def parse_compose(text: str, file: str) -> tuple[Parts, ...]:
    """Return the parts of each service of a compose file: whether it gets a GPU, and what it runs.

    Source: https://docs.docker.com/compose/how-tos/gpu-support/ (2026-11-21)

    Raises:
        InputFileError: It is no YAML, or no compose file.
    """
    top = _mapping(text, file, "services", "a compose file")
    found = []
    for name, service in pairs(top.get("services")):
        if not isinstance(service, Mapping):
            continue
        parts = Parts()
        image, build = text_of(service.get("image")), _build_file(service.get("build"))
        place = at(file, name)
        parts.services.append(Service(place=place, name=name.text, image=image, build=build, gpu=_has_gpu(service)))
        if build is not None:
            parts.references.append(Reference(place=place, path=build, kind="dockerfile"))
        elif image is not None:
            parts.images.append(
                Image(place=_place_of(service.get("image"), place, file), reference=expand(image, {})[0])
            )
        _compose_settings(service.get("environment"), file, parts)
        if build is not None or _has_gpu(service):
            for key in ("entrypoint", "command"):
                _compose_start(service.get(key), file, parts)
        found.append(parts)
    return tuple(found)


def _compose_start(command: Value | None, file: str, parts: Parts) -> None:
    """Add what a start command sets; `$$` is Compose's way to write a `$` for the shell in the container."""
    if isinstance(command, Scalar):
        read_start(command.text.replace("$$", "$"), at(file, command), parts)
    elif command is not None:
        words = [(text_of(word) or "").replace("$$", "$") for word in each(command)]
        place = Location(file=file, line=command.line)
        if words:
            read_start(words, place, parts)


def _place_of(value: Value | None, otherwise: Location, file: str) -> Location:
    return at(file, value) if value is not None else otherwise


def _build_file(build: Value | None) -> str | None:
    if isinstance(build, Scalar):
        return posixpath.join(build.text, "Dockerfile")
    if isinstance(build, Mapping):
        if build.get("dockerfile_inline") is not None:
            return None
        return posixpath.join(text_of(build.get("context")) or ".", text_of(build.get("dockerfile")) or "Dockerfile")
    return None


def _has_gpu(service: Mapping) -> bool | None:
    if service.get("extends") is not None:
        return None
    if service.get("gpus") is not None or text_of(service.get("runtime")) == "nvidia":
        return True
    deploy = service.get("deploy")
    resources = deploy.get("resources") if isinstance(deploy, Mapping) else None
    reservations = resources.get("reservations") if isinstance(resources, Mapping) else None
    devices = reservations.get("devices") if isinstance(reservations, Mapping) else None
    for device in each(devices):
        capabilities = device.get("capabilities") if isinstance(device, Mapping) else None
        driver = text_of(device.get("driver")) if isinstance(device, Mapping) else None
        if driver in ("nvidia", "cdi") or any(text_of(c) == "gpu" for c in each(capabilities)):
            return True
    named = [text_of(d) or "" for d in each(service.get("devices"))]
    return any(d.startswith(("nvidia.com/gpu", "/dev/nvidia")) for d in named)


def _compose_settings(environment: Value | None, file: str, parts: Parts) -> None:
    found = [(k.text, text_of(v) or "", at(file, k)) for k, v in pairs(environment)]
    if not isinstance(environment, Mapping):
        for item in each(environment):
            name, equals, value = (text_of(item) or "").partition("=")
            if equals:
                found.append((name, value, at(file, item)))
    for name, text, place in found:
        if name in WATCHED:
            # Compose fills in the variables of the shell that starts it, not those of the image; `$$` is a plain `$`.
            inner = text.replace("$$", "$")
            parts.settings.append(Setting(place=place, name=name, value=inner, raw=text, expanded=False))


# --- GitHub workflows ------------------------------------------------------------------------------------------------


def parse_workflow(text: str, file: str) -> tuple[Parts, ...]:
    """Return the parts of each job of a GitHub workflow: container, variables, and what its steps install.

    Raises:
        InputFileError: It is no YAML, or no workflow.
    """
    top = parse_yaml(text, file)
    jobs = top.get("jobs") if isinstance(top, Mapping) else None
    steps_holders: list[Value] = [v for _, v in pairs(jobs)]
    if isinstance(top, Mapping) and isinstance(top.get("runs"), Mapping):
        steps_holders.append(top.get("runs") or top)  # a composite action
    if not steps_holders:
        raise InputFileError(f"{file}:1: it is not a GitHub workflow: it has no `jobs:`")
    found = []
    above, repeated = _variables(top), [0]
    for job in steps_holders:
        if isinstance(job, Mapping):
            parts = Parts()
            _job(job, file, parts, {**above, **_variables(job)}, repeated)
            found.append(parts)
    return tuple(found)


def _variables(holder: Value | None) -> dict[str, tuple[Word, ...]]:
    """Return the plain variables that `env:` of a workflow, job or step sets."""
    env = holder.get("env") if isinstance(holder, Mapping) else None
    return {
        name.text: (Word(value.text),)
        for name, value in pairs(env)
        if isinstance(value, Scalar) and not _GITHUB_EXPRESSION.search(value.text)
    }


def _job(job: Mapping, file: str, parts: Parts, above: dict[str, tuple[Word, ...]], repeated: list[int]) -> None:
    container = job.get("container")
    value = container.get("image") if isinstance(container, Mapping) else container
    if isinstance(value, Scalar):
        if _GITHUB_EXPRESSION.search(value.text):
            reason = "an expression decides which image it is"
            parts.puzzles.append(Puzzle(place=at(file, value), text=value.text, reason=reason))
        else:
            parts.images.append(Image(place=at(file, value), reference=value.text))
    for step in each(job.get("steps")):
        if isinstance(step, Mapping):
            _step(step, file, parts, above, repeated)


def _step(step: Mapping, file: str, parts: Parts, above: dict[str, tuple[Word, ...]], repeated: list[int]) -> None:
    uses, given = text_of(step.get("uses")) or "", step.get("with")
    if uses.startswith("actions/setup-python") and isinstance(given, Mapping):
        version = given.get("python-version")
        if isinstance(version, Scalar) and re.fullmatch(r"3\.\d+(\.\d+)?", version.text):
            minor = ".".join(version.text.split(".")[:2])
            parts.pythons.append(PythonVersion(place=at(file, version), version=minor))
    for name, value in pairs(step.get("env")):
        if name.text in WATCHED and isinstance(value, Scalar) and not _GITHUB_EXPRESSION.search(value.text):
            parts.settings.append(
                Setting(place=at(file, name), name=name.text, value=value.text, raw=value.text, expanded=False)
            )
    run = step.get("run")
    if isinstance(run, Scalar):
        script = _GITHUB_EXPRESSION.sub("$GITHUB_EXPRESSION", run.text)
        variables = {**above, **_variables(step)}
        ShellReader(file, parts, variables, run.first_line, lasting=False, repeated=repeated).read(script)

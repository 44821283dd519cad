"""Which kind a file is, and its reader."""

from __future__ import annotations

import re
from collections.abc import Callable

from gpudoctor.lint.requirements import Options, parse_requirements
from gpudoctor.lint.types import KIND_TITLES, FileKind, Parts, Reference
from gpudoctor.model.errors import InputFileError

_NAMES: tuple[tuple[str, FileKind], ...] = (
    (r"pyproject\.toml", "pyproject"),
    (r"uv\.lock", "uv-lock"),
    (r"pylock(\.[^.]+)?\.toml", "pylock"),
    (r"poetry\.lock", "poetry-lock"),
    (
        r"(.*[-_.])?(requirements|constraints)([-_.].*)?\.(txt|in)|requirements\.txt\..*|(requirements|constraints)",
        "requirements",
    ),
    (r"environment([-_.].*)?\.ya?ml|conda([-_.].*)?\.ya?ml|(.*[-_.])environment\.ya?ml", "conda"),
    (r"(.*\.)?(Dockerfile|Containerfile)([-_.].*)?|(.*[-_.])?dockerfile", "dockerfile"),
    (r"(docker-)?compose([-_.].*)?\.ya?ml", "compose"),
    (r".*\.(sh|bash)", "shell"),
)
# Programs and texts about Dockerfiles, and what a build leaves out (Dockerfile.dockerignore).
_NO_DOCKERFILE = re.compile(r"\.(py|pyi|md|rst|go|rs|js|ts|java|rb|json|html|dockerignore)$", re.IGNORECASE)
_SHEBANG = re.compile(r"#!.*\b(ba|da|z|k)?sh\b")


def kind_of(path: str, text: str) -> FileKind | None:
    """Return the kind of a file by its name, else by what it holds; None for an unknown one."""
    folder, _, name = path.replace("\\", "/").rpartition("/")
    if _NO_DOCKERFILE.search(name):
        return "modal" if name.endswith(".py") and _is_modal(text) else None
    for pattern, kind in _NAMES:
        if re.fullmatch(pattern, name, re.IGNORECASE if kind == "dockerfile" else 0):
            return kind
    if re.search(r"(^|/)requirements$", folder) and name.endswith((".txt", ".in")):
        return "requirements"
    if name.endswith((".yml", ".yaml")):
        return _yaml_kind(folder, text)
    return "shell" if "." not in name and _SHEBANG.match(text) else None


def _is_modal(text: str) -> bool:
    from gpudoctor.lint.modal import is_modal

    return is_modal(text)


def _yaml_kind(folder: str, text: str) -> FileKind | None:
    if folder.endswith(".github/workflows") or re.search(r"^(jobs|runs):", text, re.MULTILINE):
        return "workflow"
    if re.search(r"^services:", text, re.MULTILINE):
        return "compose"
    return "conda" if re.search(r"^dependencies:", text, re.MULTILINE) else None


def unknown_kind(path: str) -> InputFileError:
    """Return the error on a file of no known kind."""
    return InputFileError(f"{path}: not a kind of file that lint reads; it reads {', '.join(KIND_TITLES.values())}")


def parse(kind: FileKind, text: str, file: str, reference: Reference | None = None) -> tuple[Parts, ...]:
    """Return the parts of a file: one for each container or job that it starts, else one.

    Args:
        kind: Its kind.
        text: Its text.
        file: Its name, for places.
        reference: What pulled it in, with the options that hold there.

    Raises:
        InputFileError: It cannot be read as what it is: file, line, what is wrong.
    """
    if kind == "requirements":
        options = Options()
        if reference is not None:
            options = Options(reference.index, reference.extra_indexes, reference.installer, reference.constraint)
        return (parse_requirements(text, file, options),)
    if kind in ("compose", "workflow"):
        from gpudoctor.lint import yamlkinds

        return (yamlkinds.parse_compose if kind == "compose" else yamlkinds.parse_workflow)(text, file)
    if kind == "pyproject":
        from gpudoctor.lint.pyproject import parse_pyproject

        return parse_pyproject(text, file)
    if kind == "uv-lock":
        from gpudoctor.lint.uvlock import parse_uv_lock

        return parse_uv_lock(text, file)
    return (_single(kind)(text, file),)


def _single(kind: FileKind) -> Callable[[str, str], Parts]:
    if kind in ("pylock", "poetry-lock"):
        from gpudoctor.lint import locks

        return locks.parse_pylock if kind == "pylock" else locks.parse_poetry_lock
    if kind == "conda":
        from gpudoctor.lint.yamlkinds import parse_conda

        return parse_conda
    if kind == "dockerfile":
        from gpudoctor.lint.dockerfile import parse_dockerfile

        return parse_dockerfile
    if kind == "modal":
        from gpudoctor.lint.modal import parse_modal

        return parse_modal
    from gpudoctor.lint.shell import parse_shell

    return parse_shell

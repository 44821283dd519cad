"""Files of the matrix put together into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gpudoctor.matrix.checks import problems_of
from gpudoctor.matrix.overlap import contradictions
from gpudoctor.matrix.types import MatrixData, MatrixFile
from gpudoctor.matrix.yamlfile import Lines, parse_matrix_file

T = TypeVar("T")
ParsedFile = tuple[MatrixFile, Lines]
EMPTY = MatrixData(version="", families=(), consumers=(), facts=())


def compile_matrix(files: Sequence[ParsedFile], base: MatrixData = EMPTY) -> MatrixData:
    """Put files together into one matrix, on top of a base where there is one.

    Args:
        files: Parsed files.
        base: A matrix that the files add to. They replace an entry of it only when they say so; the same entry once
            more is no contradiction.

    Raises:
        InputFileError: Two entries have one id, two facts disagree, or an entry says what cannot be: file, line and
            what was expected.
    """
    merged = MatrixData(
        version=_version(files, base),
        families=_merge("families", files, base.families, lambda family: family.name),
        consumers=_merge("consumers", files, base.consumers, lambda consumer: consumer.name),
        facts=_merge("facts", files, base.facts, lambda fact: fact.id),
        causes=_merge("causes", files, base.causes, lambda cause: cause.id),
        driver_branches=_merge("driver_branches", files, base.driver_branches, lambda branch: branch.branch),
        gpus=_merge("gpus", files, base.gpus, lambda model: model.compute_capability),
        models=_merge("models", files, base.models, lambda model: model.name),
        images=_merge("images", files, base.images, lambda image: f"{image.image}:{image.tag}"),
        releases=_merge("releases", files, base.releases, lambda releases: releases.package),
    )
    for file, lines in files:
        _refuse_idle_replaces(file, lines, base)
        for path, message in problems_of(file, merged):
            raise lines.error(path, message)
    _refuse_contradictions(files, merged)
    return merged


def add_overlay(base: MatrixData, data: bytes, file: str) -> MatrixData:
    """Return a matrix with a user's file on top.

    Args:
        base: The matrix of the package.
        data: Content of the file, YAML.
        file: Its name, for errors.

    Raises:
        InputFileError: The file is not YAML, not of the matrix's shape, or contradicts the base.
    """
    return compile_matrix([parse_matrix_file(data, file)], base)


def _version(files: Sequence[ParsedFile], base: MatrixData) -> str:
    if base.version:
        return f"{base.version} + overlay"
    return next((file.version for file, _ in files if file.version), "")


def _merge(part: str, files: Sequence[ParsedFile], base: Sequence[T], key: Callable[[T], str]) -> tuple[T, ...]:
    entries = {key(entry): entry for entry in base}
    seen: dict[str, str] = {}
    for file, lines in files:
        own: Sequence[T] = getattr(file, part)
        for index, entry in enumerate(own):
            name = key(entry)
            if name in seen:
                raise lines.error((part, index), f"{name!r} is defined twice (also in {seen[name]})")
            if entries.get(name, entry) != entry and name not in file.replaces:
                raise lines.error(
                    (part, index), f"the matrix already has {name!r}; name it under `replaces` to replace it"
                )
            seen[name] = lines.file
            entries[name] = entry
    return tuple(entries.values())


def _refuse_idle_replaces(file: MatrixFile, lines: Lines, base: MatrixData) -> None:
    """Refuse a `replaces` that replaces nothing: most likely a misspelt id, whose fact then counts twice."""
    known = {fact.id for fact in base.facts} | {consumer.name for consumer in base.consumers}
    known |= {family.name for family in base.families} | {cause.id for cause in base.causes}
    known |= {branch.branch for branch in base.driver_branches} | {model.compute_capability for model in base.gpus}
    known |= {model.name for model in base.models} | {f"{image.image}:{image.tag}" for image in base.images}
    known |= {releases.package for releases in base.releases}
    for index, name in enumerate(file.replaces):
        if name not in known:
            raise lines.error(("replaces", index), f"the matrix has no {name!r} to replace")


def _refuse_contradictions(files: Sequence[ParsedFile], merged: MatrixData) -> None:
    """Refuse a fact that disagrees with another where both hold."""
    places = {fact.id: (lines, index) for file, lines in files for index, fact in enumerate(file.facts)}
    if not places:
        return
    about = {fact.subject for file, _ in files for fact in file.facts}
    for found in contradictions([fact for fact in merged.facts if fact.subject in about]):
        here, other = (found.other, found.one) if found.other.id in places else (found.one, found.other)
        if here.id in places:
            lines, index = places[here.id]
            raise lines.error(
                ("facts", index),
                f"{here.id!r} and {other.id!r} both hold for {here.subject} {found.version} and claim different "
                "things; narrow `when` of one, or replace that fact under its own id",
            )

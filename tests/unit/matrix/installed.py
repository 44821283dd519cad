"""What the facts are tried on: recorded environments, and recorded answers of an installer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from packaging.utils import canonicalize_name

from gpudoctor.matrix.index import holds
from gpudoctor.matrix.types import Fact

ROOT = Path(__file__).parents[3]
RESOLVED = Path(__file__).parent / "resolved"
ENVIRONMENTS = ROOT / "tests" / "environments"


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Versions that are together in one environment.

    Attributes:
        name: Where it is recorded.
        python: Version of the interpreter, None where it is not known.
        platform: Such as `linux-x86_64`.
        versions: Version by canonical name.
        resolved: True for an installer's answer: its requirements are met.
    """

    name: str
    python: str | None
    platform: str
    versions: dict[str, str]
    resolved: bool = False


def _of_resolution(file: Path) -> Installed:
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    asked = re.match(r"# Python ([0-9.]+): ", head)
    assert asked, f"{file.name}: its first line is not “# Python 3.11: REQUIREMENT…”"
    pins = [line.partition("==") for line in lines if not line.startswith("#")]
    versions = {str(canonicalize_name(name)): version for name, _, version in pins}
    versions |= _cuda(versions)
    return Installed(name=file.name, python=asked[1], platform="linux-x86_64", versions=versions, resolved=True)


def _cuda(versions: dict[str, str]) -> dict[str, str]:
    """Return the CUDA release of the runtime that is installed, under the subject of its facts."""
    runtime = next((versions[name] for name in versions if name.startswith("nvidia-cuda-runtime")), None)
    return {"cuda": ".".join(runtime.split(".")[:2])} if runtime else {}


def _of_environment(file: Path) -> Installed:
    # Read as plain JSON: only names and versions are wanted of it.
    snapshot = json.loads(file.read_bytes())
    interpreter = _value(snapshot["interpreter"]) or {}
    found = {d["name"]: _value(d["version"]) for d in snapshot["distributions"]}
    versions = {name: version for name, version in found.items() if version is not None}
    return Installed(
        name=file.parent.name,
        python=_value(interpreter["version"]) if interpreter else None,
        platform=f"{snapshot['host']['os']}-{snapshot['host']['machine']}",
        versions={**versions, **_cuda(versions)},
    )


def _value(fact: dict[str, Any]) -> Any:
    return fact.get("value")


@cache
def resolutions() -> tuple[Installed, ...]:
    """Return the recorded answers of an installer."""
    return tuple(_of_resolution(file) for file in sorted(RESOLVED.glob("*.txt")))


@cache
def everything() -> tuple[Installed, ...]:
    """Return all that is recorded."""
    environments = sorted(ENVIRONMENTS.glob("*/snapshot.json"))
    return (*resolutions(), *(_of_environment(file) for file in environments))


def where_it_holds(fact: Fact) -> Iterator[Installed]:
    """Yield the recorded installations that a fact speaks of."""
    for installed in everything():
        version = installed.versions.get(fact.subject)
        if version is not None and holds(fact.when, version, installed.platform, installed.python):
            yield installed

"""Ways out of a missing library: exact commands, never more than the evidence allows."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Sequence

from gpudoctor.loader.search import inexpressible
from gpudoctor.matrix.claims import Conflicts, NeedsLibrary
from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.matrix.types import Provider
from gpudoctor.model.environment import Distribution
from gpudoctor.model.fact import Absent, value_of
from gpudoctor.model.finding import Fix
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.misses import NOWHERE, Group, Miss, is_foreign, late_misses, library_groups, unreached_folders
from gpudoctor.rules.origins import cuda_major
from gpudoctor.rules.reading import consumer_version, is_installed, listed, major_of, numbers, plain_name, unique

BEFORE_START = "before the process starts; setting it inside Python with os.environ does nothing"

_LITERAL = re.compile(r"\d+(?:\.\d+)+")
_REQUIREMENT = re.compile(r"[\w.,<>=!~+*\[\] -]*", re.ASCII)


def pip_command(snapshot: Snapshot, arguments: str, verb: str = "install") -> str:
    """Return the command that installs into (or removes from) the judged environment."""
    interpreter = value_of(snapshot.interpreter)
    if interpreter is None:
        return f"pip {verb} {arguments}"
    python = shlex.quote(interpreter.executable)
    if uses_uv(snapshot):
        return f"uv pip {verb} --python {python} {arguments.removeprefix('-y ')}"
    return " && ".join((*bringing_pip(snapshot), f"{python} -m pip {verb} {arguments}"))


def uses_uv(snapshot: Snapshot) -> bool:
    """Tell whether packages are changed with uv: the environment has no pip, and uv is not known to be lacking."""
    return not is_installed(snapshot, "pip") and not isinstance(snapshot.uv, Absent)


def bringing_pip(snapshot: Snapshot) -> tuple[str, ...]:
    """Return what must be typed first where there is neither uv nor pip: no command of theirs can be."""
    interpreter = value_of(snapshot.interpreter)
    if interpreter is None or uses_uv(snapshot) or is_installed(snapshot, "pip"):
        return ()
    return (f"{shlex.quote(interpreter.executable)} -m ensurepip",)


def quoted(requirement: str) -> str:
    """Return a requirement as one word of a shell; a version from outside that would act in double quotes cannot."""
    return f'"{requirement}"' if _REQUIREMENT.fullmatch(requirement) else shlex.quote(requirement)


def export_command(directories: Sequence[str]) -> str:
    """Return the shell line that puts directories before the present LD_LIBRARY_PATH, and leaves no empty element."""
    joined = ":".join(directories)
    escaped = re.sub(r'([\\"$`])', r"\\\1", joined)
    return f'export LD_LIBRARY_PATH="{escaped}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'


def install_fixes(snapshot: Snapshot, matrix: Matrix, group: Group) -> tuple[Fix, ...]:
    """Return the ways out when the wanted major version is not installed."""
    providers = _providers(snapshot, matrix, group)
    if not providers:
        return newer_release_fix(snapshot, matrix, group)
    if damaged := damaged_distribution(snapshot, matrix, group):
        return (reinstall_fix(snapshot, damaged.name, ""),)
    late = late_misses(snapshot, matrix, group.consumer)
    providers = unique((*providers, *(p for m in late if (p := provider_of(snapshot, matrix, m)) is not None)))
    wanted = [_requirement(p, (*group.misses, *late)) for p in providers]
    commands = [pip_command(snapshot, " ".join(f'"{w}"' for w in wanted))]
    unseen = unique((*_unsearched(snapshot, group, providers), *unreached_folders(snapshot, matrix, group.consumer)))
    clash = _clash(snapshot, matrix, group, providers)
    own = () if clash else packages_fix(snapshot, matrix, group.consumer)
    title = f"{'Or by hand: install' if own else 'Install'} {listed(wanted, most=len(wanted))}"
    if unseen and not any(inexpressible(folder) for folder in unseen):
        commands.append(export_command(unseen))
        title += f", and set LD_LIBRARY_PATH to where its files will lie, {BEFORE_START}"
    if snapshot.binary is not None:
        commands.append(f"gpudoctor fix --binary {shlex.quote(snapshot.binary)} --python ENVIRONMENT --apply")
        title += ", and let gpudoctor make the program find what lies in that environment"
    if clash:
        title += f" (in an environment of its own: here {clash})"
    fix = Fix(title=title, applicability="unsafe" if clash else "safe", commands=tuple(commands))
    if not clash:
        return (*own, fix, *newer_release_fix(snapshot, matrix, group))
    newer = newer_release_fix(snapshot, matrix, group)
    # Where the install would break somebody else, the release that needs nothing is the better way.
    return (*newer, fix)


def packages_fix(snapshot: Snapshot, matrix: Matrix, consumer: str) -> tuple[Fix, ...]:
    """Return what gpudoctor itself does about libraries that are not installed; nothing where it would refuse."""
    interpreter = value_of(snapshot.interpreter)
    if interpreter is None or snapshot.binary is not None:
        return ()
    groups = [g for g in library_groups(snapshot, matrix) if g.level == "error"]
    if any(_is_hindrance(snapshot, matrix, g) for g in groups if g.consumer == consumer):
        return ()
    # Without a name all consumers are served, and one whose packages clash makes it refuse them all.
    others = (g for g in groups if g.consumer != consumer and g.state in NOWHERE)
    only = f" --for {consumer}" if any(clash_of(snapshot, matrix, g) for g in others) else ""
    return (
        Fix(
            title="Let gpudoctor install what is missing at an exact version, make it findable, and verify both "
            "(`gpudoctor fix --undo` takes it back)",
            applicability="unsafe",
            commands=(
                *bringing_pip(snapshot),
                f"gpudoctor fix --python {shlex.quote(interpreter.executable)} --packages{only} --apply",
            ),
        ),
    )


def _is_hindrance(snapshot: Snapshot, matrix: Matrix, group: Group) -> bool:
    """Tell whether what a consumer misses is no matter of installing packages alone."""
    if group.state in NOWHERE:
        return is_a_decision(snapshot, matrix, group)
    return group.state == "broken" or any(is_foreign(snapshot, matrix, m) for m in group.misses)


def is_a_decision(snapshot: Snapshot, matrix: Matrix, group: Group) -> bool:
    """Tell whether what a group lacks is not just installed: nobody knows what brings it, or it would break another."""
    return not requirements_of(snapshot, matrix, group) or clash_of(snapshot, matrix, group) is not None


def damaged_distribution(snapshot: Snapshot, matrix: Matrix, group: Group) -> Distribution | None:
    """Return the installed distribution that should have brought the library; installing it would do nothing."""
    for miss in group.misses if group.state == "not-installed" else ():
        provider = provider_of(snapshot, matrix, miss)
        found = snapshot.distribution(provider.distribution) if provider else None
        version = value_of(found.version) if found else None
        if provider is None or version is None or overwrites(snapshot, matrix, provider.distribution):
            continue
        wanted = _requirement(provider, group.misses).removeprefix(provider.distribution)
        if str(next(iter(numbers(version)), "")) == provider.major and matches_version(wanted, version):
            return found
    return None


def requirements_of(snapshot: Snapshot, matrix: Matrix, group: Group) -> tuple[str, ...]:
    """Return the requirements that bring what a group misses; empty where the matrix knows no distribution of it."""
    return tuple(_requirement(p, group.misses) for p in _providers(snapshot, matrix, group))


def clash_of(snapshot: Snapshot, matrix: Matrix, group: Group) -> str | None:
    """Return whom bringing what a group misses would break, as a clause."""
    return _clash(snapshot, matrix, group, _providers(snapshot, matrix, group))


def _providers(snapshot: Snapshot, matrix: Matrix, group: Group) -> tuple[Provider, ...]:
    return unique(p for m in group.misses if (p := provider_of(snapshot, matrix, m)) is not None)


def provider_of(snapshot: Snapshot, matrix: Matrix, miss: Miss) -> Provider | None:
    """Return the distribution that brings a missing library in the CUDA major that its consumer is built for."""
    major = major_of(miss.blamed)
    if miss.family is None or major is None:
        return None
    fitting = [p for p in miss.family.providers if p.major == major]
    cuda = cuda_major(snapshot, matrix, miss.resolution.consumer)
    exact = next((p for p in fitting if p.cuda == cuda), None)
    return exact or (fitting[0] if len(fitting) == 1 else None)


def provided_for(matrix: Matrix, resolution: Resolution, cuda: str) -> str | None:
    """Return the requirement that brings a library of the same name built for one CUDA major, if there is one."""
    family, major = matrix.families.get(resolution.family), major_of(plain_name(resolution))
    for provider in family.providers if family else ():
        if provider.major == major and provider.cuda == cuda:
            return provider.distribution + (provider.versions or "")
    return None


def requirers_of(snapshot: Snapshot, distribution: str) -> tuple[str, ...]:
    """Return the installed distributions that require another one by name."""
    pattern = re.compile(rf"{re.escape(distribution)}(?![\w.-])", re.IGNORECASE)
    return unique(
        d.name for d in snapshot.distributions for line in d.requires if pattern.match(line) and "extra ==" not in line
    )


def _requirement(provider: Provider, misses: Iterable[Miss]) -> str:
    shim = next((v for m in misses if m.family and m.family.name == "cudnn" for v in _shim_versions(m)), None)
    major = int(provider.major)
    if shim and shim[0] == major and provider.distribution.startswith("nvidia-cudnn"):
        return f"{provider.distribution}>={shim[0]}.{shim[1]},<{major + 1}"
    if provider.versions:
        return provider.distribution + provider.versions
    # `nvidia-cublas` carries no CUDA major in its name; `-cu12` says all.
    if re.search(r"-cu\d+$", provider.distribution) or major == 0:
        return provider.distribution
    return f"{provider.distribution}>={major},<{major + 1}"


def _shim_versions(miss: Miss) -> tuple[tuple[int, ...], ...]:
    """The dispatch library asks for parts of its own release first (`libcudnn_ops.so.9.1.0`): older parts abort."""
    found = (numbers(name.partition(".so.")[2]) for name in miss.resolution.names)
    return tuple(v for v in found if len(v) >= 2)


def _unsearched(snapshot: Snapshot, group: Group, providers: Iterable[Provider]) -> tuple[str, ...]:
    """Return where the new files will lie, where the consumer does not look by itself."""
    site = site_dir(snapshot, group.consumer)
    if site is None:
        return ()
    searched = {posixpath.normpath(posixpath.dirname(s.path)) for m in group.misses for s in m.resolution.searched}
    folders = unique(posixpath.normpath(f"{site}/{p.directory}") for p in providers)
    return tuple(f for f in folders if f not in searched)


def site_dir(snapshot: Snapshot, consumer: str) -> str | None:
    """Return the folder that packages are installed into beside a consumer."""
    build = snapshot.build(consumer)
    distribution = snapshot.distribution(build.distribution if build else consumer)
    if distribution and not distribution.editable:
        return distribution.site_dir
    interpreter = value_of(snapshot.interpreter)
    return interpreter.site_dirs[0] if interpreter and interpreter.site_dirs else None


def _clash(snapshot: Snapshot, matrix: Matrix, group: Group, providers: Iterable[Provider]) -> str | None:
    for provider in providers:
        if (rival := overwrites(snapshot, matrix, provider.distribution)) is not None:
            return f"it would overwrite files of {rival}"
        if (owner := _pinned_by(snapshot, provider)) is not None:
            return f"{owner} asks for another release of it"
        if (user := _used_by_other(snapshot, provider, group.consumer)) is not None:
            return f"it would replace the release that {user} uses"
    return None


def _used_by_other(snapshot: Snapshot, provider: Provider, consumer: str) -> str | None:
    """Return another consumer that gets its library from an installed release of the provider."""
    if not is_installed(snapshot, provider.distribution):
        return None
    owned = {x.path for x in snapshot.libraries if x.owner == provider.distribution}
    return next((r.consumer for r in snapshot.resolutions if r.consumer != consumer and r.path in owned), None)


def overwrites(snapshot: Snapshot, matrix: Matrix, distribution: str) -> str | None:
    """Return the installed distribution whose files another one would overwrite, if there is one."""
    for fact in matrix.data.facts:
        claim = fact.claim
        if isinstance(claim, Conflicts) and claim.shares_files and distribution in (fact.subject, claim.package):
            rival = claim.package if fact.subject == distribution else fact.subject
            if is_installed(snapshot, rival):
                return rival
    return None


def _pinned_by(snapshot: Snapshot, provider: Provider) -> str | None:
    """Return who pins a release of the provider that is not of the wanted major."""
    pattern = re.compile(rf"^{re.escape(provider.distribution)}\s*\(?\s*==\s*(\d+)(?:\.|\b)", re.IGNORECASE)
    for distribution in snapshot.distributions:
        for line in distribution.requires:
            match = pattern.match(line)
            if match and match.group(1) != provider.major:
                return distribution.name
    return None


def newer_release_fix(snapshot: Snapshot, matrix: Matrix, group: Group) -> tuple[Fix, ...]:
    """Return the step to the first release that no longer opens the library at all, where the matrix knows one."""
    family = group.head.family
    version = consumer_version(snapshot, matrix, group.consumer)
    if family is None or version is None or not matrix.knows(group.consumer):
        return ()
    release = next(
        (v for v in _boundaries(matrix, group.consumer) if v > numbers(version) and not _wants(matrix, group, v)), None
    )
    if release is None:
        return ()
    text = ".".join(map(str, release))
    return (
        Fix(
            title=f"Upgrade {group.consumer} to {text} or later, which needs no {family.title}",
            applicability="unsafe",
            commands=(pip_command(snapshot, f'"{group.consumer}>={text}"'),),
        ),
    )


def _boundaries(matrix: Matrix, subject: str) -> tuple[tuple[int, ...], ...]:
    """Return the releases at which a fact about a subject begins or ends, oldest first."""
    texts = (f.when.versions for f in matrix.data.facts if f.subject == subject)
    return tuple(sorted({numbers(v) for text in texts for v in _LITERAL.findall(text)}))


def _wants(matrix: Matrix, group: Group, release: tuple[int, ...]) -> bool:
    family = group.head.family
    claims = matrix.facts(group.consumer, NeedsLibrary, ".".join(map(str, release)))
    # A release the matrix says nothing about is no release to recommend.
    return not claims or any(family is not None and claim.library == family.name for _, claim in claims)


def reinstall_fix(snapshot: Snapshot, owner: str | None, path: str) -> Fix:
    """Return the way out of a damaged file."""
    if owner is None:
        return Fix(title=f"Replace or remove {path}", applicability="display-only")
    distribution = snapshot.distribution(owner)
    version = value_of(distribution.version) if distribution else None
    pinned = quoted(f"{owner}=={version}") if version else shlex.quote(owner)
    if not uses_uv(snapshot):
        arguments = f"--force-reinstall --no-deps --no-cache-dir {pinned}"
    else:
        arguments = f"--reinstall-package {shlex.quote(owner)} --no-cache {pinned}"
    return Fix(title=f"Install {owner} anew", applicability="safe", commands=(pip_command(snapshot, arguments),))

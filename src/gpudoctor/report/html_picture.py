"""The picture of who loads what: consumer -> library -> file, and the loader rule between the two."""

from __future__ import annotations

import posixpath
from itertools import groupby

from gpudoctor.model.fact import value_of
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.html_text import outside

_SCENARIOS = {"alone": "in a process of its own", "after-torch": "after torch was imported"}
_RANK = {"absent": 0, "unknown": 1, "present": 2}
_RULES = {
    "already-loaded": "already loaded",
    "rpath": "RPATH",
    "ld-library-path": "LD_LIBRARY_PATH",
    "runpath": "RUNPATH",
    "ld-cache": "ld.so.cache",
    "default": "system folder",
    "absolute": "full path",
    "preload": "preloaded",
    "absent": "nowhere",
    "unknown": "not known",
    "present": "not told",
}
_MOST_ROWS = 500
_MOST_STEPS = 60


def picture_section(snapshot: Snapshot) -> str:
    """Return the section; a sentence when no consumer opens anything."""
    rows = snapshot.resolutions[:_MOST_ROWS]
    if not rows:
        body = "<p>No installed consumer opens a GPU library here, or none could be emulated.</p>\n"
    else:
        groups = groupby(rows, key=lambda r: (r.consumer, r.scenario))
        body = "".join(_figure(snapshot, consumer, scenario, tuple(g)) for (consumer, scenario), g in groups)
    left_out = len(snapshot.resolutions) - len(rows)
    more = f"<p>{left_out} more are not shown; <code>gpudoctor libs</code> lists all.</p>\n" if left_out else ""
    return f'<section aria-labelledby="picture">\n<h2 id="picture">Who loads what</h2>\n{body}{more}</section>\n'


def _figure(snapshot: Snapshot, consumer: str, scenario: str, rows: tuple[Resolution, ...]) -> str:
    build = snapshot.build(consumer)
    version = (value_of(build.version) if build else None) or ""
    ordered = sorted(rows, key=lambda r: _RANK[r.outcome])
    name = f"{outside(consumer)} {outside(version)}".strip()
    lines = [
        _row(snapshot, row, first=f'<th scope="rowgroup" rowspan="{len(ordered)}"><span>{name}</span></th>' * (n == 0))
        for n, row in enumerate(ordered)
    ]
    return (
        f'<table class="picture">\n<caption><b>{name}</b> {_SCENARIOS[scenario]}</caption>\n'
        '<thead><tr><th scope="col">consumer</th><th scope="col">opens the library</th>'
        '<th scope="col">found by</th><th scope="col">file</th></tr></thead>\n'
        f"<tbody>\n{''.join(lines)}</tbody>\n</table>\n"
    )


def _row(snapshot: Snapshot, row: Resolution, *, first: str) -> str:
    verb = "opened" if row.link == "dlopen" else "linked"
    library = (
        f'<td class="library"><code>{outside(row.soname)}</code>'
        f"<small>{verb} by {outside(row.requester)}, {outside(row.when)}</small></td>"
    )
    rule = _RULES[row.found_via or row.outcome]
    via = f'<td class="via"><span class="{row.found_via or row.outcome}">{outside(rule)}</span></td>'
    return f'<tr class="{row.outcome}">{first}{library}{via}<td class="file">{_file(snapshot, row)}</td></tr>\n'


def _file(snapshot: Snapshot, row: Resolution) -> str:
    if row.outcome != "present" or row.path is None:
        word = "will not load" if row.outcome == "absent" else "not judged"
        return f"<strong>{word}</strong><small>{outside(row.reason or 'no reason is known')}</small>{_searched(row)}"
    hidden = ""
    if row.shadowed:
        hidden = f"<small>without LD_LIBRARY_PATH: <code>{outside(row.shadowed)}</code></small>"
    return f"{_path(snapshot, row.path)}{_owner(snapshot, row.path)}{hidden}"


def _path(snapshot: Snapshot, path: str) -> str:
    """Return a path with the folders that all of an environment's files share in a fainter colour."""
    whole = posixpath.normpath(path)
    interpreter = value_of(snapshot.interpreter)
    folders = (*interpreter.site_dirs, interpreter.prefix) if interpreter else ()
    shared = max((f"{f}/" for f in folders if f and whole.startswith(f"{f}/")), key=len, default="")
    return f'<code><span class="faint">{outside(shared)}</span>{outside(whole[len(shared) :])}</code>'


def _owner(snapshot: Snapshot, path: str) -> str:
    library = snapshot.library(path)
    if library is None:
        return ""
    version = value_of(library.version)
    told = " ".join(part for part in (library.owner, version) if part)
    return f"<small>{outside(told)}</small>" if told else ""


def _searched(row: Resolution) -> str:
    if not row.searched:
        return ""
    steps = "".join(
        f"<li>{outside(step.rule)}: <code>{outside(step.path)}</code> ({outside(step.result)})</li>\n"
        for step in row.searched[:_MOST_STEPS]
    )
    left_out = len(row.searched) - _MOST_STEPS
    more = f"<li>and {left_out} more</li>\n" if left_out > 0 else ""
    places = "place" if len(row.searched) == 1 else "places"
    return f"<details><summary>{len(row.searched)} {places} searched</summary>\n<ol>\n{steps}{more}</ol></details>"

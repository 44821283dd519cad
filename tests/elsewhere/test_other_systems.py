"""What holds on Windows and macOS: everything imports, `check` judges what applies and leaves the rest open.

Runs on those systems themselves (see .github/workflows/check.yml) and, with a machine in memory, everywhere.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import gpudoctor
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present
from gpudoctor.model.finding import Fail, NotApplicable, Open, Pass
from gpudoctor.probes.take import SnapshotRequest, take_snapshot
from gpudoctor.rules.engine import Verdict, judge
from gpudoctor.rules.libraries import unresolved_library
from gpudoctor.rules.registry import RULES
from gpudoctor.system.memory import MemorySystem

# Started by path in the target's interpreter, on Linux; never imported.
PROGRAMS = ("gpudoctor.system.children.canary_steps", "gpudoctor.__main__")
# Rules that rest on the emulated loader.
ON_LOADER = ("GPD201", "GPD202", "GPD203", "GPD204", "GPD205", "GPD206")

VERSION = b"__version__ = '4.6.0'\n"
METADATA = b"Metadata-Version: 2.1\nName: ctranslate2\nVersion: 4.6.0\n"

WINDOWS = MemorySystem(
    {
        "/C:/app/Scripts/python.exe": b"MZ",
        "/C:/app/pyvenv.cfg": "home = C:\\Python311\nversion = 3.11.7\n",
        "/C:/Python311/Lib/os.py": b"",
        "/C:/app/Lib/site-packages/ctranslate2/__init__.py": b"",
        "/C:/app/Lib/site-packages/ctranslate2/version.py": VERSION,
        "/C:/app/Lib/site-packages/ctranslate2/cudnn64_9.dll": b"MZ",
        "/C:/app/Lib/site-packages/ctranslate2-4.6.0.dist-info/METADATA": METADATA,
    },
    environ={"PATH": "C:\\Windows"},
    uid=None,
    os_name="windows",
    machine="x86_64",
)
MACOS = MemorySystem(
    {
        "/Users/ann/app/bin/python": b"\xcf\xfa\xed\xfe",
        "/Users/ann/app/pyvenv.cfg": "home = /usr/local/bin\nversion = 3.11.7\n",
        "/Users/ann/app/lib/python3.11/site-packages/onnxruntime/__init__.py": b"",
        "/Users/ann/app/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so": b"?",
    },
    uid=501,
    os_name="macos",
    machine="arm64",
)
TARGETS = {"windows": (WINDOWS, "C:\\app", "ctranslate2"), "macos": (MACOS, "/Users/ann/app", "onnxruntime")}


def verdict_on(name: str) -> Verdict:
    system, python, _ = TARGETS[name]
    matrix = load_matrix()
    taken = take_snapshot(system, matrix, SnapshotRequest(python=python))
    return judge(taken, matrix)


def modules() -> tuple[str, ...]:
    walked = pkgutil.walk_packages(gpudoctor.__path__, "gpudoctor.")
    return tuple(m.name for m in walked if m.name not in PROGRAMS)


@pytest.mark.parametrize("name", modules())
def test_every_module_imports(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("name", TARGETS)
class TestAnotherSystem:
    def test_what_the_loader_would_answer_is_open_never_a_pass(self, name: str) -> None:
        verdict = verdict_on(name)
        for rule in ON_LOADER:
            kinds = {type(e) for e in verdict.evaluations[rule]}
            assert kinds == {Open}, rule

    def test_strict_does_not_let_it_through(self, name: str) -> None:
        assert verdict_on(name).required_open

    def test_no_rule_fails_inside(self, name: str) -> None:
        verdict = verdict_on(name)
        assert not [f for f in verdict.findings if f.rule == "GPD901"]
        assert set(verdict.evaluations) == {rule.id for rule in RULES}

    def test_nothing_of_the_target_is_started(self, name: str) -> None:
        system, _, _ = TARGETS[name]
        system.started.clear()
        verdict_on(name)
        assert all(argv[0] == sys.executable for argv, _, _ in system.started)

    def test_its_distributions_and_builds_are_read(self, name: str) -> None:
        system, python, package = TARGETS[name]
        taken = take_snapshot(system, load_matrix(), SnapshotRequest(python=python))
        assert isinstance(taken.interpreter, Present)
        assert taken.build(package) is not None
        assert [p.status for p in taken.probes if p.probe == "loader"] == ["failed"]

    def test_without_a_consumer_nothing_applies(self, name: str) -> None:
        system, python, _ = TARGETS[name]
        matrix = load_matrix()
        taken = take_snapshot(system, matrix, SnapshotRequest(python=python))
        empty = type(taken)(**{f: getattr(taken, f) for f in taken.__struct_fields__} | {"builds": ()})
        assert {type(e) for e in unresolved_library.evaluate(empty, matrix)} == {NotApplicable}


def test_driver_rules_do_not_claim_what_was_not_read_on_windows() -> None:
    verdict = verdict_on("windows")
    for rule in ("GPD101", "GPD102"):
        assert not [e for e in verdict.evaluations[rule] if isinstance(e, (Pass, Fail))], rule


def test_check_of_this_very_machine_is_one_document() -> None:
    command = [sys.executable, "-m", "gpudoctor", "check", "--format", "json", "--fail-on", "never"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    document = json.loads(done.stdout.decode("utf-8"))
    rules = {question["rule"] for question in document["open"]} | {f["rule"] for f in document["findings"]}
    assert "GPD901" not in rules
    assert document["summary"]["exit_status"] == 0

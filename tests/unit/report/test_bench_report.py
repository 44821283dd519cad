"""A benchmark as text, Markdown and a section of HTML: no failure is lost, none is told twice."""

from __future__ import annotations

import msgspec
import pytest

from gpudoctor.bench.measure import spread_of
from gpudoctor.model.bench import (
    Agreement,
    BenchDocument,
    BenchFailure,
    BenchMachine,
    BenchSettings,
    BenchTarget,
    Fallback,
    MemoryJudgement,
)
from gpudoctor.model.finding import Tool
from gpudoctor.report.bench import render_bench, render_bench_markdown
from gpudoctor.report.html_bench import bench_section
from support.benchruns import RUN

BLOCKED = BenchFailure(device="cuda", cause="driver-missing", reason="No driver.")
TOO_LARGE = BenchFailure(device="cuda", compute_type="float16", model="m", cause="gpu-oom", reason="No room | `x`.")
DOCUMENT = BenchDocument(
    schema_version=1,
    tool=Tool(name="gpudoctor", version="0.1.0"),
    matrix_version="2026.11.20",
    taken_at="2026-11-21T12:00:00Z",
    target=BenchTarget(python="/srv/app/.venv/bin/python"),
    machine=BenchMachine(),
    settings=BenchSettings(audio="sample"),
    runs=(RUN,),
    device_used="cpu",
)


def _all_forms(document: BenchDocument) -> tuple[str, str, str]:
    text = render_bench(document, colored=False, width=200, ascii_only=True)
    return text, render_bench_markdown(document), bench_section(document)


@pytest.mark.parametrize("form", [0, 1, 2])
def test_the_reason_of_the_fallback_is_told_once_and_other_failures_too(form: int) -> None:
    fallback = Fallback(from_device="cuda", cause=BLOCKED.cause, reason=BLOCKED.reason)
    document = msgspec.structs.replace(DOCUMENT, fallback=fallback, failures=(BLOCKED, TOO_LARGE))
    shown = _all_forms(document)[form]
    assert shown.count("No driver.") == 1
    assert shown.count("No room") == 1


@pytest.mark.parametrize("form", [0, 1, 2])
def test_a_device_that_computes_something_else_is_told(form: int) -> None:
    wrong = Agreement(
        model="m",
        device="cuda",
        compute_type="float16",
        reference="cpu float32",
        encoder_error=1.4,
        log_prob_error=0.9,
        tolerance=0.05,
    )
    document = msgspec.structs.replace(DOCUMENT, agreement=(wrong,))
    assert any(word in _all_forms(document)[form] for word in ("DIFFERS", "does not compute what cpu float32 does"))
    right = msgspec.structs.replace(DOCUMENT, agreement=(msgspec.structs.replace(wrong, agrees=True),))
    assert not any(word in _all_forms(right)[form] for word in ("DIFFERS", "does not compute"))


def test_markdown_escapes_what_would_break_a_table_and_tells_of_memory() -> None:
    judged = MemoryJudgement(model="m", compute_type="float16", needed_bytes=1 << 31, basis="estimate", fits=False)
    document = msgspec.structs.replace(DOCUMENT, failures=(TOO_LARGE,), memory=(judged,))
    shown = render_bench_markdown(document)
    assert "No room \\| \\`x\\`." in shown
    assert "is expected not to fit: takes 2,048 MiB" in shown


def test_the_number_of_runs_is_what_was_run() -> None:
    short = msgspec.structs.replace(RUN, inference_s=spread_of([2.0] * 5))
    assert "1 to warm up, then 3: " in _all_forms(DOCUMENT)[0]
    assert "then 3 to 5: " in _all_forms(msgspec.structs.replace(DOCUMENT, runs=(RUN, short)))[0]
    assert "then 5: " in _all_forms(msgspec.structs.replace(DOCUMENT, runs=()))[0]

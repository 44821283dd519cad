"""The golden hosts are what the wheels, the compiled driver and the probes give today."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from environments.hosts import HOSTS, record
from gpudoctor.model.snapshot import Snapshot

pytestmark = pytest.mark.wheels
HERE = Path(__file__).parents[1] / "environments"
SAMPLE = (
    "host-h100-ok",
    "host-conda-rtx-4090-ok",
    "host-uv-run-with-rtx-3090",
    "host-a100-mig-ok",
    "host-docker-lost-gpu",
    "host-rtx-3090-cuda-compat",
    "host-wsl2-ok",
)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="recorded with Python 3.11")
@pytest.mark.parametrize("slug", SAMPLE)
def test_a_host_recorded_anew_is_the_same(slug: str) -> None:
    committed = msgspec.json.decode((HERE / slug / "snapshot.json").read_bytes(), type=Snapshot)
    now = record(HOSTS[slug])
    # Another machine has another libc, another patch release of Python and other folders for it.
    for field in ("driver", "gpus", "builds", "variables", "distributions", "models"):
        assert getattr(now, field) == getattr(committed, field), field
    assert [(r.consumer, r.soname, r.outcome, r.path) for r in now.resolutions] == [
        (r.consumer, r.soname, r.outcome, r.path) for r in committed.resolutions
    ]

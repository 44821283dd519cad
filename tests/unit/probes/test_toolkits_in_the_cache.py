"""A CUDA toolkit that only ld.so.cache knows of: a real cache made by the real ldconfig."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present, value_of
from gpudoctor.probes.take import SnapshotRequest, take_snapshot
from gpudoctor.system.real import RealSystem

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ld.so.cache is glibc's")


class OtherCache(RealSystem):
    """This machine with another ld.so.cache."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self._cache = str(cache)

    def read_bytes(self, path: str, limit_bytes: int = 4 << 20) -> bytes:
        return super().read_bytes(self._cache if path == "/etc/ld.so.cache" else path, limit_bytes)


def test_the_snapshot_has_it(tmp_path: Path) -> None:
    toolkit = tmp_path / "apps" / "cuda-12.4"
    (toolkit / "lib64").mkdir(parents=True)
    (toolkit / "version.json").write_text('{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}')
    library = toolkit / "lib64" / "libcudart.so.12"
    command = ["gcc", "-shared", "-nostdlib", "-Wl,-soname,libcudart.so.12", "-x", "c", "/dev/null", "-o", library]
    subprocess.run(command, check=True)
    (tmp_path / "ld.so.conf").write_text(f"{toolkit}/lib64\n")
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin") or "ldconfig"
    options = ["-C", tmp_path / "cache", "-f", tmp_path / "ld.so.conf", "-X"]
    subprocess.run([ldconfig, *options], check=True, capture_output=True)

    system = OtherCache(tmp_path / "cache")
    taken = take_snapshot(system, load_matrix(), SnapshotRequest(python=sys.executable, own_python=sys.executable))

    found = {t.directory: t for t in value_of(taken.toolkits) or ()}
    assert found[str(toolkit)].version == Present("12.4.1")
    assert found[str(toolkit)].found_via == "ld-cache"

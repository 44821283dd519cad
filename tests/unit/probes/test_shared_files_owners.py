from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.environment import SharedFiles
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.shared_files import probe_shared_files
from gpudoctor.system.real import RealSystem
from support.envtrees import dist_info, write

MATRIX = load_matrix()
LIBRARY = "nvidia/cudnn/lib/libcudnn.so.9"


def probe(site: Path) -> tuple[SharedFiles, ...]:
    system = RealSystem()
    return probe_shared_files(system, probe_distributions(system, (str(site),)), MATRIX)


def row(path: str, data: bytes) -> str:
    digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def pair(site: Path, old: bytes, new: bytes) -> None:
    dist_info(site, "nvidia-cudnn-cu12", "9.1.0.70", record=row(LIBRARY, old) + "own12,,\n")
    dist_info(site, "nvidia-cudnn-cu13", "9.12.0.46", record=row(LIBRARY, new) + "own13,,\n")


@pytest.mark.parametrize(("old", "new"), [(b"a", b"bb"), (b"aa", b"bb")])
def test_owner_on_disk_by_size_then_digest(tmp_path: Path, old: bytes, new: bytes) -> None:
    pair(tmp_path, old, new)
    for data, owner in ((old, "nvidia-cudnn-cu12"), (new, "nvidia-cudnn-cu13")):
        write(tmp_path / LIBRARY, data)
        (shared,) = probe(tmp_path)
        assert shared.owners == ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
        assert (shared.count, shared.example, shared.on_disk) == (1, LIBRARY, Present(owner))


@pytest.mark.parametrize("data", [None, b"neither"])
def test_unknown_when_neither_matches(tmp_path: Path, data: bytes | None) -> None:
    pair(tmp_path, b"a", b"bb")
    if data is not None:
        write(tmp_path / LIBRARY, data)
    assert isinstance(probe(tmp_path)[0].on_disk, Unknown)


def test_unknown_when_both_match(tmp_path: Path) -> None:
    pair(tmp_path, b"same", b"same")
    write(tmp_path / LIBRARY, b"same")
    assert isinstance(probe(tmp_path)[0].on_disk, Unknown)


def test_pair_of_the_matrix(tmp_path: Path) -> None:
    files = {"onnxruntime/capi/state.so": b"cpu"}
    dist_info(tmp_path, "onnxruntime", "1.20.1", record="".join(row(p, d) for p, d in files.items()))
    dist_info(tmp_path, "onnxruntime-gpu", "1.20.2", record="".join(row(p, d + b"gpu") for p, d in files.items()))
    write(tmp_path / "onnxruntime/capi/state.so", b"cpu")
    (shared,) = probe(tmp_path)
    assert shared.on_disk == Present("onnxruntime")


def test_no_pair_no_finding(tmp_path: Path) -> None:
    dist_info(tmp_path, "nvidia-cudnn-cu12", "9.1", record=row(LIBRARY, b"x"))
    dist_info(tmp_path, "nvidia-cublas-cu12", "12.4", record=row(LIBRARY, b"x"))
    dist_info(tmp_path, "six", "1.0", record=row(LIBRARY, b"x"))
    assert probe(tmp_path) == ()


@pytest.mark.parametrize(
    ("record", "shared"),
    [
        ("", 0),
        ("no comma\n", 0),
        (f"{LIBRARY}\n,,\n{LIBRARY},x,notanumber\n", 1),
        ("\udcff\udcfe,,\n", 0),
        (None, 0),
    ],
)
def test_malformed_record(tmp_path: Path, record: str | None, shared: int) -> None:
    dist_info(tmp_path, "nvidia-cudnn-cu12", "9.1", record=record)
    dist_info(tmp_path, "nvidia-cudnn-cu13", "9.1", record=row(LIBRARY, b"x"))
    write(tmp_path / LIBRARY, b"x")
    unknown = Unknown("sizes and digests do not tell whose files are on disk")
    assert [found.on_disk for found in probe(tmp_path)] == [unknown] * shared


def test_unknown_when_the_files_are_mixed(tmp_path: Path) -> None:
    other = "nvidia/cudnn/lib/libcudnn_ops.so.9"
    dist_info(tmp_path, "nvidia-cudnn-cu12", "9.1", record=row(LIBRARY, b"a") + row(other, b"a"))
    dist_info(tmp_path, "nvidia-cudnn-cu13", "9.2", record=row(LIBRARY, b"bb") + row(other, b"bb"))
    write(tmp_path / LIBRARY, b"a")
    write(tmp_path / other, b"bb")
    assert probe(tmp_path)[0].on_disk == Unknown("the files on disk are of both distributions")

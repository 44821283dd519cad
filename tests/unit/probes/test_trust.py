"""What gpudoctor's own children may load."""

from __future__ import annotations

import pytest

from gpudoctor.loader.target import Target
from gpudoctor.probes.trust import lies_in, roots_of, without_target
from gpudoctor.system.memory import MemorySystem

SYSTEM = MemorySystem(
    {"/srv/app/lib/x.so": b"", "/usr/lib/libcuda.so.1": b"", "/data/app/bin/daemon": b""},
    links={"/opt/gpu": "/srv/app/lib", "/srv/link": "/srv/app"},
    cwd="/data",
)


def target(prefix: str, *site_dirs: str) -> Target:
    return Target(f"{prefix}/bin/python", prefix, site_dirs, {}, "/data")


def test_the_prefix_and_the_site_folders_are_the_targets_by_their_real_path() -> None:
    assert roots_of(SYSTEM, target("/srv/link", "/vendor")) == ("/vendor", "/srv/app")


@pytest.mark.parametrize("prefix", ["/", "/usr", "/usr/local", ""])
def test_the_system_itself_is_no_target(prefix: str) -> None:
    assert roots_of(SYSTEM, target(prefix)) == ()


def test_a_native_program_brings_the_folder_above_its_bin() -> None:
    roots = roots_of(SYSTEM, target(""), "app/bin/daemon")
    assert lies_in(SYSTEM, "/data/app/lib/libcuda.so.1", roots)
    assert not lies_in(SYSTEM, "/data/other/libcuda.so.1", roots)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("/srv/app/lib:/usr/lib", "/usr/lib"),
        ("/srv/app/lib", None),
        ("/opt/gpu:/usr/lib", "/usr/lib"),
        (":relative;/usr/lib:", "/usr/lib"),
        ("$ORIGIN/../lib:/usr/lib", "/usr/lib"),
        ("/srv/application:/usr/lib", "/srv/application:/usr/lib"),
    ],
)
def test_a_child_searches_no_folder_of_the_target(value: str, kept: str | None) -> None:
    environment = without_target(SYSTEM, {"LD_LIBRARY_PATH": value, "HOME": "/root"}, ("/srv/app",))
    assert environment.get("LD_LIBRARY_PATH") == kept
    assert environment["HOME"] == "/root"

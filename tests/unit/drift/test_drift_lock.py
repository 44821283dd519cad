from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.drift.lock import (
    SIZE_LIMIT_BYTES,
    Lock,
    LockedDistributions,
    LockedDriver,
    LockedGpus,
    LockedInterpreter,
    LockedLibrary,
    LockedResolution,
    LockedSearchElement,
    dump_lock,
    parse_lock,
)
from gpudoctor.drift.record import build_lock
from gpudoctor.model.environment import Distribution
from gpudoctor.model.errors import InputFileError
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.model.machine import Gpu, Toolkit
from gpudoctor.probes.redact import redact
from unit.drift.builders import HOME, change, distributions, environment, interpreter, library, resolution, site

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OPTIONAL = st.none() | TEXT
VERSIONS = st.dictionaries(TEXT, TEXT, max_size=4)
LIBRARIES = st.builds(
    LockedLibrary,
    path=TEXT,
    family=TEXT,
    soname=OPTIONAL,
    roles=st.lists(TEXT, max_size=3).map(tuple),
    owner=OPTIONAL,
    version=OPTIONAL,
    size_bytes=st.integers(0, 2**63 - 1),
    build_id=OPTIONAL,
    digest=OPTIONAL,
)
RESOLUTIONS = st.builds(
    LockedResolution,
    consumer=TEXT,
    scenario=st.sampled_from(["alone", "after-torch"]),
    role=TEXT,
    family=TEXT,
    outcome=st.sampled_from(["present", "absent", "unknown"]),
    found_via=st.none() | st.sampled_from(["rpath", "runpath", "ld-cache"]),
    path=OPTIONAL,
)
DRIVERS = st.builds(LockedDriver, policy=st.just("recorded"), release=OPTIONAL) | st.builds(
    LockedDriver, policy=st.sampled_from(["minimum", "exact"]), release=st.just("550.54.15")
)
LOCKS = st.builds(
    Lock,
    schema_version=st.just(1),
    matrix_version=TEXT,
    platform=TEXT,
    interpreter=st.none() | st.builds(LockedInterpreter, implementation=TEXT, version=TEXT),
    driver=DRIVERS,
    gpus=st.builds(LockedGpus, devices=st.lists(TEXT, max_size=3).map(tuple)),
    consumers=VERSIONS,
    distributions=st.builds(LockedDistributions, gpu=VERSIONS, other=VERSIONS),
    search_path=st.lists(st.builds(LockedSearchElement, directory=TEXT, state=TEXT), max_size=3).map(tuple),
    library=st.lists(LIBRARIES, max_size=3).map(tuple),
    resolution=st.lists(RESOLUTIONS, max_size=3).map(tuple),
)


@given(LOCKS)
def test_a_written_lock_reads_back_as_it_was(lock: Lock) -> None:
    text = dump_lock(lock)
    assert parse_lock(text, "x.lock") == lock
    assert dump_lock(parse_lock(text, "x.lock")) == text


def test_the_text_is_the_same_for_any_order_of_the_facts() -> None:
    snapshot = environment()
    shuffled = change(
        snapshot,
        distributions=snapshot.distributions[::-1],
        libraries=snapshot.libraries[::-1],
        resolutions=snapshot.resolutions[::-1],
    )
    assert dump_lock(build_lock(shuffled, "2026.11.20")) == dump_lock(build_lock(snapshot, "2026.11.20"))


def test_the_text_names_places_and_holds_no_path_user_or_kernel() -> None:
    text = dump_lock(build_lock(environment(kernel="6.1.0-alicehost"), "2026.11.20"))
    assert 'path = "{site}/nvidia/cudnn/lib/libcudnn_ops.so.9"' in text
    assert 'policy = "recorded"' in text
    for leak in ("alice", "/home", "/usr", ".venv"):
        assert leak not in text


def test_the_same_environment_in_another_folder_of_another_user_gives_the_same_text() -> None:
    mine = dump_lock(build_lock(environment(), "2026.11.20"))
    theirs = dump_lock(build_lock(environment(root="/srv/apps/bob", kernel="6.8.0"), "2026.11.20"))
    assert mine == theirs


def test_a_redacted_snapshot_gives_the_same_text() -> None:
    snapshot = environment()
    masked = redact(snapshot, home="/home/alice", user="alice", host="workstation")
    assert "alice" not in str(masked)
    assert build_lock(masked, "1") == build_lock(snapshot, "1")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"{site()}/nvidia/cudnn/lib/x.so", "{site}/nvidia/cudnn/lib/x.so"),
        (f"{site()}/ctranslate2/../ctranslate2.libs/x.so", "{site}/ctranslate2.libs/x.so"),
        (f"{HOME}/.venv/lib/x.so", "{prefix}/lib/x.so"),
        ("/usr/lib/x86_64-linux-gnu/x.so", "{system}/x.so"),
        ("/lib64/x.so", "{system}/x.so"),
        ("/usr/local/lib/x.so", "{local}/x.so"),
        ("/usr/share/x.so", "{base}/share/x.so"),
        ("/usr/local/cuda-12.4/lib64/x.so", "{toolkit:12.4}/lib64/x.so"),
        ("/usr/local/cuda-11.8/lib64/x.so", "{toolkit:11.8}/lib64/x.so"),
        ("/usr/local/cuda/lib64/x.so", "{toolkit}/lib64/x.so"),
        ("/opt/alice/x.so", "{elsewhere:1}/x.so"),
        (f"{HOME}/.venv2/lib/x.so", "{elsewhere:1}/x.so"),
    ],
)
def test_every_path_has_a_place(path: str, place: str) -> None:
    snapshot = change(environment(search_path=None), resolutions=(resolution("f", "r", path),))
    (locked,) = build_lock(snapshot, "1").resolution
    assert locked.path == place


def test_an_environment_below_a_system_folder_is_still_the_environment() -> None:
    snapshot = environment(root="/usr/lib/speech")
    assert build_lock(snapshot, "1") == build_lock(environment(), "1")


def test_unnamed_folders_are_numbered_in_the_order_of_the_search_path() -> None:
    snapshot = environment(search_path="/data/ann/b:/data/ann/a:")
    snapshot = change(snapshot, resolutions=(resolution("cudnn", "cudnn_ops", "/data/ann/a/libcudnn_ops.so.9"),))
    lock = build_lock(snapshot, "1")
    assert [e.directory for e in lock.search_path] == ["{elsewhere:1}", "{elsewhere:2}", "{cwd}"]
    assert lock.resolution[0].path == "{elsewhere:2}/libcudnn_ops.so.9"
    assert "ann" not in dump_lock(lock)


def test_an_extra_folder_on_pythonpath_does_not_rename_the_environments_own() -> None:
    snapshot = environment()
    python = interpreter()
    wider = change(snapshot, interpreter=Present(change(python, site_dirs=("/data/extra", *python.site_dirs))))
    assert build_lock(wider, "1").library == build_lock(snapshot, "1").library


def test_the_first_of_two_distributions_of_a_name_counts() -> None:
    snapshot = environment()
    twice = change(snapshot, distributions=(*snapshot.distributions, *distributions({"numpy": "1.0"})))
    assert build_lock(twice, "1") == build_lock(snapshot, "1")


def test_gpu_distributions_stand_apart() -> None:
    lock = build_lock(environment(), "1")
    assert set(lock.distributions.other) == {"numpy"}
    assert lock.consumers == {"ctranslate2": "ctranslate2"}


def test_what_could_not_be_read_is_written_as_unknown() -> None:
    odd = Distribution(name="odd", version=Unknown("x"), site_dir=site(), metadata_path="x")
    snapshot = change(environment(), distributions=(odd,), interpreter=Present(interpreter(version=Unknown("x"))))
    lock = build_lock(snapshot, "1")
    assert lock.distributions.other == {"odd": "unknown"}
    assert lock.interpreter == LockedInterpreter(implementation="cpython", version="unknown")


def test_undecodable_file_names_can_still_be_written() -> None:
    path = f"{site()}/nvidia/lib\udcffx.so.1"
    snapshot = change(environment(), libraries=(library(path, "cudnn"),), resolutions=(resolution("cudnn", "r", path),))
    text = dump_lock(build_lock(snapshot, "1"))
    assert parse_lock(text, "x.lock").library[0].path == "{site}/nvidia/lib\\udcffx.so.1"
    text.encode()


def test_driver_and_gpus_are_recorded() -> None:
    gpu = Gpu(
        index=0,
        name=Present("NVIDIA GeForce RTX 3090"),
        uuid=Present("GPU-secret"),
        pci_bus_id=Unknown("x"),
        compute_capability=Present("8.6"),
        memory_total_bytes=Unknown("x"),
        memory_free_bytes=Unknown("x"),
        mig_enabled=Unknown("x"),
        error=Unknown("x"),
    )
    snapshot = environment(driver=Present("550.54.15"), gpus=Present((gpu,)))
    lock = build_lock(snapshot, "1", driver_policy="minimum")
    assert lock.driver == LockedDriver(policy="minimum", release="550.54.15")
    assert lock.gpus.devices == ("NVIDIA GeForce RTX 3090 (8.6)",)
    assert "secret" not in dump_lock(lock)


def test_a_toolkit_in_an_odd_place_is_named_by_its_version() -> None:
    kit = Toolkit(directory="/data/ann/kit", version=Present("12.6"), found_via="ld-cache")
    snapshot = change(
        environment(search_path="/data/ann/kit/lib64"), toolkits=Present((kit,)), resolutions=(), libraries=()
    )
    assert build_lock(snapshot, "1").search_path[0].directory == "{toolkit:12.6}/lib64"


GOOD = dump_lock(build_lock(environment(), "2026.11.20"))
HOSTILE = {
    "empty": ("", "schema_version"),
    "not TOML": ("<<<<<<< HEAD\n", "line 1"),
    "second line": ("a = 1\nb = ]\n", "line 2: not TOML"),
    "cut off": ("a = 1\nb = [\n", "line 3: not TOML"),
    "NUL": ("a = '\x00'", "not TOML"),
    "other TOML": ("[tool.ruff]\nline-length = 120\n", "no gpudoctor lock"),
    "newer": ("schema_version = 2\n", "upgrade gpudoctor"),
    "newest": (f"schema_version = {10**30}\n", "upgrade gpudoctor"),
    "boolean version": ("schema_version = true\n", "schema_version"),
    "text version": ('schema_version = "1"\n', "schema_version"),
    "version only": ("schema_version = 1\n", "matrix_version"),
    "wrong type": (GOOD.replace('version = "3.11.7"', "version = 3.11"), "$.interpreter.version"),
    "wrong word": (GOOD.replace('policy = "recorded"', 'policy = "any"'), "$.driver.policy"),
    "policy without release": (GOOD.replace('policy = "recorded"', 'policy = "exact"'), "driver.release"),
    "bad release": (GOOD.replace('policy = "recorded"', 'policy = "exact"\nrelease = "5x"'), "driver.release"),
    "typo": (GOOD.replace("matrix_version", "matrix_versoin"), "matrix_vers"),
    "negative size": (GOOD.replace("size_bytes = 1", "size_bytes = -1"), "size_bytes"),
    "deep arrays": ("a = " + "[" * 50_000, "nested too deeply"),
    "deep keys": ("a" + ".a" * 3000 + " = 1\nschema_version = 1", ""),
    "long number": ("schema_version = " + "9" * 6000, ""),
    "huge": ("#" * (SIZE_LIMIT_BYTES + 1), "larger than"),
    "surrogate": ("a = 1\nb = '\udcff'", "line 2: not UTF-8"),
    "escapes in a key": (GOOD + '\n["\\u001b[31m\\n"]\na = 1\n', "x.lock"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_sentence(name: str) -> None:
    text, part = HOSTILE[name]
    with pytest.raises(InputFileError) as caught:
        parse_lock(text, "x.lock")
    message = str(caught.value)
    assert message.startswith("x.lock: ")
    assert part in message
    assert message.isprintable()
    assert len(message) < 500


@given(st.text(max_size=200))
def test_any_text_is_a_lock_or_an_input_error(text: str) -> None:
    with pytest.raises(InputFileError):
        parse_lock(text, "x.lock")
    with pytest.raises(InputFileError):
        parse_lock("schema_version = 1\n" + text, "x.lock")


def test_a_library_is_joined_by_place_not_by_the_spelling_of_its_path() -> None:
    plain = f"{site()}/ctranslate2.libs/libcudnn-74a4c495.so.9.1.0"
    opened = f"{site()}/ctranslate2/../ctranslate2.libs/libcudnn-74a4c495.so.9.1.0"
    unread = change(library(plain, "cudnn"), elf=Unknown("not read"))
    read = library(opened, "cudnn", build_id="ab")
    for libraries in ((library(plain, "cudnn", build_id="ab"),), (unread, read), (read, unread)):
        snapshot = change(environment(), libraries=libraries, resolutions=(resolution("cudnn", "cudnn", opened),))
        (locked,) = build_lock(snapshot, "1").library
        assert (locked.path, locked.roles) == (
            "{site}/ctranslate2.libs/libcudnn-74a4c495.so.9.1.0",
            ("ctranslate2/cudnn",),
        )
        assert locked.build_id == "ab"

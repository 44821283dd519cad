"""The import hook as an interpreter runs it: what it opens and when, and that nothing else changes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gpudoctor.loader.preload_hook import HOOK_FILE, PTH_FILE, PTH_TEXT, read_hook, render_hook
from gpudoctor.loader.target import Preload
from gpudoctor.probes.preloads import probe_preloads
from gpudoctor.system.real import RealSystem
from support.gpuenvs import compile_library


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "env/lib/python3.11/site-packages"
    (folder / "nvidia/lib").mkdir(parents=True)
    for name in ("liba.so.1", "libb.so.1"):
        compile_library(tmp_path / "build", folder / "nvidia/lib" / name, name)
    for package in ("speech", "other"):
        (folder / f"{package}.py").write_text("")
    return folder


def install(site: Path, *names: str, consumer: str = "speech") -> None:
    preload = Preload(consumer, tuple(f"{site}/nvidia/lib/{n}" for n in names))
    (site / HOOK_FILE).write_text(render_hook((preload,), str(site), str(site.parents[2])))
    (site / PTH_FILE).write_text(PTH_TEXT)


def run(site: Path, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose site folder is ours, `.pth` files followed."""
    start = f"import site, sys; sys.path[:0] = [{str(site)!r}]; site.addsitedir({str(site)!r})\n"
    loaded = (
        "def loaded():\n"
        "    with open('/proc/self/maps') as maps:\n"
        "        return sorted(line.split('/')[-1].strip() for line in maps if '/nvidia/lib/' in line)\n"
    )
    return subprocess.run(
        [sys.executable, *options, "-c", start + loaded + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def output(done: subprocess.CompletedProcess[str]) -> object:
    assert (done.returncode, done.stderr) == (0, "")
    return ast.literal_eval(done.stdout)


def test_a_library_that_only_lacks_the_driver_is_no_news(site: Path, tmp_path: Path) -> None:
    """cuDNN 9.28 links libcuda.so.1: a build of an image, a CI job and a run on the CPU have none."""
    driver = tmp_path / "driver/libcuda.so.1"
    driver.parent.mkdir()
    compile_library(tmp_path / "build", driver, "libcuda.so.1")
    source = tmp_path / "user.c"
    source.write_text("int user(void) { return 1; }\n")
    library = site / "nvidia/lib/libc9.so.9"
    command = ["gcc", "-shared", "-fPIC", "-Wl,--no-as-needed", source, driver, "-o", library]
    subprocess.run([*map(str, command)], check=True)
    install(site, "liba.so.1", library.name, "libb.so.1")
    assert output(run(site, "import speech; print(sorted(set(loaded())))")) == ["liba.so.1", "libb.so.1"]


def test_nothing_is_opened_before_the_package_is_imported(site: Path) -> None:
    install(site, "liba.so.1", "libb.so.1")
    assert output(run(site, "import other, json; print(loaded())")) == []
    assert set(output(run(site, "import speech; print(loaded())"))) == {"liba.so.1", "libb.so.1"}  # type: ignore[call-overload]


def test_its_start_imports_nothing(site: Path) -> None:
    install(site, "liba.so.1")
    program = "before = set(sys.modules); import _gpudoctor_preload; print(sorted(set(sys.modules) - before))"
    start = f"import sys; sys.path[:0] = [{str(site)!r}]\n"
    done = subprocess.run([sys.executable, "-I", "-c", start + program], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == ["_gpudoctor_preload"]


@pytest.mark.parametrize("options", [("-I",), ("-E",), ("-O",), ("-X", "frozen_modules=off"), ("-W", "error")])
def test_it_works_under_options(site: Path, options: tuple[str, ...]) -> None:
    install(site, "liba.so.1")
    assert output(run(site, "import speech; print(sorted(set(loaded())))", *options)) == ["liba.so.1"]


def test_a_library_that_is_gone_is_said_once_and_stops_nobody(site: Path) -> None:
    install(site, "libgone.so.1", "liba.so.1", "libaway.so.2")
    done = run(site, "import speech, importlib; importlib.reload(speech); print(sorted(set(loaded())))")
    assert done.returncode == 0
    assert ast.literal_eval(done.stdout) == ["liba.so.1"]
    assert done.stderr.count("\n") == 1
    assert "2 of 3 GPU libraries of speech cannot be opened" in done.stderr
    assert "libgone.so.1" in done.stderr


@pytest.mark.parametrize("stderr", ["None", "open('/dev/full', 'w')", "object()"])
def test_it_raises_nothing_whatever_became_of_standard_error(site: Path, stderr: str) -> None:
    install(site, "libgone.so.1")
    done = run(site, f"sys.stderr = {stderr}\nimport speech\nprint('went on', flush=True)\nimport os; os._exit(0)")
    assert (done.returncode, done.stdout) == (0, "went on\n")


def test_other_finders_still_answer(site: Path) -> None:
    """A hook that took itself off the list while it is walked would make the import skip the next finder."""
    install(site, "liba.so.1")
    program = """
class Next:
    asked = []
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        cls.asked.append(name)
sys.meta_path.insert(1, Next)
import speech, other
print((Next.asked, sys.meta_path[1] is Next))
"""
    asked, is_there = output(run(site, program))  # type: ignore[misc]
    assert [n for n in asked if n in ("speech", "other")] == ["speech", "other"]
    assert is_there


def test_find_spec_answers_as_without(site: Path) -> None:
    install(site, "liba.so.1")
    program = "import importlib.util as u; print((u.find_spec('speech').origin, u.find_spec('nosuch') is None))"
    assert output(run(site, program)) == (f"{site}/speech.py", True)


def test_a_missing_package_is_missing_as_without(site: Path) -> None:
    install(site, "liba.so.1", consumer="nosuch")
    done = run(site, "import nosuch")
    assert "ModuleNotFoundError: No module named 'nosuch'" in done.stderr


def test_threads_import_at_once(site: Path) -> None:
    install(site, "liba.so.1", "libb.so.1")
    program = """
import threading
barrier, failed = threading.Barrier(8), []
def work():
    barrier.wait()
    try:
        import speech, ctypes
        ctypes.CDLL(None)
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print((failed, sorted(set(loaded()))))
"""
    assert output(run(site, program)) == ([], ["liba.so.1", "libb.so.1"])


def test_old_interpreters_can_read_it(site: Path) -> None:
    install(site, "liba.so.1")
    ast.parse((site / HOOK_FILE).read_text(), feature_version=(3, 8))


class TestReadingItBack:
    def test_what_was_written_is_what_is_read(self, site: Path) -> None:
        install(site, "liba.so.1", "libb.so.1")
        hook = probe_preloads(RealSystem(), (str(site),))
        assert hook.doubts == ()
        assert hook.preloads == (Preload("speech", (f"{site}/nvidia/lib/liba.so.1", f"{site}/nvidia/lib/libb.so.1")),)

    def test_paths_with_every_byte(self) -> None:
        names = ("/s/a b'\"\\{}%s", "/s/\udcff\udcfe", "/s/new\nline", "/elsewhere/é")
        text = render_hook((Preload("speech", names),), "/s", "/s")
        assert text.isascii()
        assert read_hook(text, "/s") == (Preload("speech", tuple(names)),)

    @pytest.mark.parametrize(
        "edit",
        [
            lambda text: text.replace("return None", "return 1"),
            lambda text: text + "import os\n",
            lambda text: text.replace("PRELOADS = {", "PRELOADS = {**__import__('os').environ, "),
            lambda text: "",
            lambda text: "PRELOADS = " + "(" * 10_000,
            lambda text: "\0",
            lambda text: "PRELOADS = {1: 2}",
        ],
    )
    def test_an_edited_one_is_doubted_and_never_run(self, site: Path, edit: object) -> None:
        install(site, "liba.so.1")
        (site / HOOK_FILE).write_text(edit((site / HOOK_FILE).read_text()))  # type: ignore[operator]
        hook = probe_preloads(RealSystem(), (str(site),))
        assert hook.preloads == ()
        assert "edited" in hook.doubts[0]

    def test_without_its_start_line_it_does_nothing(self, site: Path) -> None:
        install(site, "liba.so.1")
        (site / PTH_FILE).unlink()
        assert probe_preloads(RealSystem(), (str(site),)).preloads == ()

from __future__ import annotations

from pathlib import Path

import pytest

from gpudoctor.probes.interpreter import probe_interpreter
from gpudoctor.probes.pth import understand_import
from gpudoctor.system.real import RealSystem
from support.envtrees import installation, venv, write

SETUPTOOLS = (
    "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; "
    "enabled and __import__('_distutils_hack').add_shim();"
)
# As coverage 7.17, pytest-cov 6.3, coloredlogs 15 and setuptools' namespace packages install them.
HARMLESS = (
    SETUPTOOLS,
    "import _virtualenv",
    'import sys; exec(\'import os\\n\\nif os.getenv("COVERAGE_PROCESS_START") or os.getenv("COVERAGE_PROCESS_CONFIG"):'
    '\\n try:\\n  import coverage\\n except:\\n  pass\\n else:\\n  coverage.process_startup(slug="pth")\')',
    "import os, sys;exec('if \\'COV_CORE_SOURCE\\' in os.environ:\\n try:\\n  from pytest_cov.embed import init\\n')",
    'import os; exec(\'try: __import__("coloredlogs").auto_install() if os.environ.get("COLOREDLOGS_AUTO_INSTALL") '
    "else None\\nexcept ImportError: pass')",
    "import sys, types, os;has_mfs = sys.version_info > (3, 5);p = os.path.join(sys._getframe(1).f_locals['sitedir'], "
    "*('matplotlib',));importlib = has_mfs and __import__('importlib.util')",
    "import sys; sys.__plen = len(sys.path)",
    "import _gpudoctor_preload",
)
OTHER = (
    "import hook",
    "import sys; sys.path.append('/x')",
    "import _virtualenv; import evil",
    SETUPTOOLS + " import evil",
    "import sys; exec('COVERAGE_PROCESS_START'); sys.path.insert(0, '/x')",
    "import site; site.addsitedir(compute())",
    "import site; site.addsitedir('/x'); evil()",
    "import site; site.addsitedir(" + "(" * 5000,
    "import site; site.addsitedir(" + "-" * 50000 + "1)",
)


@pytest.mark.parametrize("line", HARMLESS)
def test_known_start_up_lines_are_harmless(line: str) -> None:
    assert understand_import(line).kind == "harmless"


@pytest.mark.parametrize("line", OTHER)
def test_any_other_line_is_not(line: str) -> None:
    assert understand_import(line).kind == "other"


def test_overlay_lines_of_uv_old_and_new() -> None:
    old = understand_import('import site; site.addsitedir("/a b"); site.addsitedir("/c")')
    new = understand_import('import site; site.addsitedir(__import__("os").fsdecode(b"/a\\xff"))')
    assert (old.kind, old.values) == ("site-dirs", ("/a b", "/c"))
    assert (new.kind, new.values) == ("site-dirs", ("/a\udcff",))


def environment(tmp_path: Path) -> tuple[Path, Path]:
    installation(tmp_path / "base")
    return venv(tmp_path / "v", tmp_path / "base"), tmp_path / "v/bin/python"


def probe(python: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = probe_interpreter(RealSystem(), str(python), {})
    return found.site_dirs, found.path_unknowns


def test_other_import_line_is_a_doubt_naming_file_and_line(tmp_path: Path) -> None:
    site, python = environment(tmp_path)
    write(site / "z.pth", "# first\nimport \x1b[31mhook" + "x" * 500 + "\n")
    (doubt,) = probe(python)[1]
    assert f"{site}/z.pth, line 2" in doubt
    assert "\x1b" not in doubt
    assert len(doubt) < 400


def test_addsitedir_follows_the_pth_files_of_the_folder_and_of_loops(tmp_path: Path) -> None:
    site, python = environment(tmp_path)
    (tmp_path / "one/two").mkdir(parents=True)
    write(site / "a.pth", f"import site; site.addsitedir('{tmp_path}/one')\n")
    write(tmp_path / "one/b.pth", f"two\nimport site; site.addsitedir('{site}'); site.addsitedir('{tmp_path}/one')\n")
    assert probe(python) == ((str(site), f"{tmp_path}/one", f"{tmp_path}/one/two"), ())


def test_editable_finder(tmp_path: Path) -> None:
    site, python = environment(tmp_path)
    (tmp_path / "src/torch").mkdir(parents=True)
    (tmp_path / "app/app").mkdir(parents=True)
    for module, mapping in (
        ("__editable___torch_2_5_finder", f"{{'torch': '{tmp_path}/src/torch'}}"),
        ("__editable___app_1_finder", f"{{'app': '{tmp_path}/app/app'}}"),
    ):
        write(site / f"{module}.pth", f"import {module}; {module}.install()")
        write(site / f"{module}.py", f"raise SystemExit\nMAPPING: dict[str, str] = {mapping}\n")
    assert probe(python) == ((str(site), f"{tmp_path}/src"), ())
    (site / "__editable___app_1_finder.py").unlink()
    assert "__editable___app_1_finder.pth, line 1" in probe(python)[1][0]


def test_editable_pth_with_a_path_and_a_byte_order_mark(tmp_path: Path) -> None:
    site, python = environment(tmp_path)
    (tmp_path / "src").mkdir()
    write(site / "__editable__.app-1.pth", b"\xef\xbb\xbf" + str(tmp_path / "src").encode() + b"\r\n")
    assert probe(python)[0] == (str(site), f"{tmp_path}/src")


@pytest.mark.parametrize(
    ("version", "followed"), [("3.11.7", True), ("3.11.8", False), ("3.12.1", True), ("3.13.0", False)]
)
def test_hidden_pth_by_version(tmp_path: Path, version: str, followed: bool) -> None:
    minor = version.rpartition(".")[0]
    site = installation(tmp_path / "base", minor)
    write(tmp_path / f"base/include/python{minor}/patchlevel.h", f'#define PY_VERSION  "{version}"\n')
    (tmp_path / "src").mkdir()
    write(site / ".hidden.pth", f"{tmp_path}/src\n")
    assert (f"{tmp_path}/src" in probe(tmp_path / "base/bin/python")[0]) is followed

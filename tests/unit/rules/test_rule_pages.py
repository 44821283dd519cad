"""The generated pages and table: complete, up to date, and able to be found out of date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from gpudoctor.rules.registry import RULES

SCRIPT = Path(__file__).parents[3] / "scripts" / "gen_rules.py"


@pytest.fixture
def gen_rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_rules", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_up_to_date(gen_rules: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert gen_rules.main(["--check"]) == 0, capsys.readouterr().err


def test_a_changed_missing_or_left_over_page_is_found(
    gen_rules: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("ROOT", tmp_path), ("PAGES", tmp_path / "rules"), ("README", tmp_path / "README.md")):
        monkeypatch.setattr(gen_rules, name, value)
    readme = tmp_path / "README.md"
    readme.write_text("# x\n<!-- rules:begin -->\nold\n<!-- rules:end -->\nrest\n")
    assert gen_rules.main(["--check"]) == 1
    assert gen_rules.main([]) == 0
    assert gen_rules.main(["--check"]) == 0
    assert "\nold\n" not in readme.read_text()
    assert readme.read_text().endswith("rest\n")
    (tmp_path / "rules" / "GPD201-unresolved-library.md").write_text("mine")
    (tmp_path / "rules" / "GPD999-gone.md").write_text("left over")
    capsys.readouterr()
    assert gen_rules.main(["--check"]) == 1
    errors = capsys.readouterr().err
    assert "GPD201" in errors
    assert "GPD999" in errors
    assert "python scripts/gen_rules.py" in errors


def test_every_rule_is_in_the_table(gen_rules: ModuleType) -> None:
    table = gen_rules.render_table(gen_rules.every_rule())
    assert all(f"[{r.id}]" in table and r.name in table for r in RULES)

"""The generated pages: current, one a subject, and true to the facts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpudoctor.matrix.load import load_data

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "compat" / "subjects"
DATA = load_data()
SUBJECTS = sorted({fact.subject for fact in DATA.facts})


def rows() -> dict[str, list[str]]:
    text = (ROOT / "compat" / "works-together.md").read_text("utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| *"]
    return {cells[0].strip("*"): cells for cells in lines}


def test_pages_are_current() -> None:
    script = ROOT / "scripts" / "gen_pages.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_page_names_every_fact_of_its_subject(subject: str) -> None:
    text = (PAGES / f"{subject}.md").read_text("utf-8")
    for fact in DATA.facts:
        if fact.subject == subject:
            assert f"`{fact.id}`" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) >= 4


def test_what_works_together_is_what_people_found() -> None:
    table = rows()
    assert len(table) >= 28
    assert table["2.5.1"][1:8] == ["12.4", "525.60.13", "5.0 to 9.0", "9.1.0.70", "2.5.1", "0.20.1", "0.1.0 to 0.1.1"]
    assert table["2.15.0"][5] == "none"  # torchaudio 2.11.0 refuses CUDA 13.2
    assert table["2.14.1"][5] == "2.11.0"
    newest = next(iter(next(r.versions for r in DATA.releases if r.package == "ctranslate2")))
    assert table["2.3.1"][8] == f"4.0.0 to 4.4.0, 4.6.3 to {newest}"
    assert table["2.4.0"][8] == f"4.5.0 to {newest}"
    assert table["2.11.0"][8] == f"4.6.3 to {newest}"  # torch's cuDNN wheel for CUDA 13 shares its files with the other
    assert table["2.5.1"][9] == "3.9 to 3.13"
    assert "(reported)" in table["2.12.0"][7]
    assert "cu126" in table["2.8.0"][10]
    assert table["2.10.0"][3].startswith("7.0")
    assert table["2.11.0"][3].startswith("7.5")


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "compat").rglob("*.md"))], ids=lambda p: p.relative_to(ROOT)
)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [t for t in targets if t and "://" not in t and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_page_has_a_title_that_people_search_for_and_every_source(subject: str) -> None:
    text = (PAGES / f"{subject}.md").read_text("utf-8")
    title = next(line for line in text.splitlines() if line.startswith("# "))
    assert title.startswith(f"# {subject}: ")
    refs = {source.ref for fact in DATA.facts if fact.subject == subject for source in fact.sources}
    assert all(ref in text for ref in refs)

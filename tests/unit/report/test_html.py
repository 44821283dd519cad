"""HTML: what the markup is, by the standard library's parser, and what a real browser makes of it."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from gpudoctor.model.bench import BenchDocument
from gpudoctor.model.finding import Report
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.html import render_html
from support.browser import dom, screenshot, serving
from support.reports import HOSTILE, hostile, real

VOID = {"meta", "br"}
ATTRIBUTES = {"aria-hidden", "aria-labelledby", "charset", "class", "content", "http-equiv", "id", "lang", "name"}
ATTRIBUTES |= {"rowspan", "scope", "style"}

BENCH = {
    "schema_version": 1,
    "tool": {"name": "gpudoctor", "version": "0.1.0"},
    "matrix_version": "2026.11.20",
    "taken_at": "2026-11-21T12:00:00Z",
    "target": {"python": "/srv/app/.venv/bin/python", "faster_whisper": "1.1.0"},
    "machine": {"cpu": "AMD EPYC", "gpu": "NVIDIA GeForce RTX 3090", "driver": "550.54.15"},
    "settings": {"audio": "sample"},
    "runs": [
        {
            "device": device,
            "compute_type": kind,
            "model": "tiny",
            "synthetic": True,
            "audio_s": 30.0,
            "load_s": 1.0,
            "first_s": 2.0,
            "inference_s": {"median": 30.0 / speed, "min": 30.0 / speed, "max": 31.0 / speed},
            "speed_x_realtime": speed,
            "realtime_factor": 1 / speed,
            "tokens": 200,
            "peak_gpu_memory_bytes": 1 << 30 if device == "cuda" else None,
        }
        for device, kind, speed in (("cuda", "float16", 61.0), ("cuda", "int8_float16", 74.5), ("cpu", "int8", 5.2))
    ],
    "device_used": "cuda",
    "notes": ["random weights: the time is true, the text is noise"],
}


class Outline(HTMLParser):
    """Elements in order, with what they hold; fails on what is not closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.headings: list[str] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self._open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def close(self) -> None:
        super().close()
        assert self._open == []


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    parser.close()
    return parser


def rendered(report: Report, snapshot: Snapshot | None, bench: dict | None = None) -> str:
    measured = msgspec.convert(bench, BenchDocument) if bench else None
    return render_html(report, snapshot, command="check", bench=measured)


def test_a_real_report_shows_verdicts_findings_and_who_loads_what() -> None:
    report, snapshot = real()
    read = outline(rendered(report, snapshot))
    for told in ("exit status", "cudnn-not-loadable", "RPATH", "already loaded", "after torch was imported"):
        assert told in read.text
    assert len(re.findall("will not load", read.text)) >= 7
    for resolution in snapshot.resolutions:
        assert resolution.soname in read.text
    assert "nvidia-cudnn-cu12" in read.text


def test_headings_make_an_outline() -> None:
    read = outline(rendered(*hostile("x"), bench=BENCH))
    assert read.headings[0] == "h1"
    assert read.headings.count("h1") == 1
    levels = [int(h[1]) for h in read.headings]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "main", "footer", "section", "article"} <= set(read.tags)


def test_files_have_no_picture() -> None:
    assert "Who loads what" not in outline(rendered(real()[0], None)).text


def test_the_benchmark_is_a_chart() -> None:
    text = rendered(*real(), bench=BENCH)
    assert re.findall(r'class="bar (\w+)" style="width:([\d.]+)%"', text) == [
        ("cuda", "81.9"),
        ("cuda", "100.0"),
        ("cpu", "7.0"),
    ]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_text(text: str) -> None:
    plain, tried = outline(rendered(*hostile("x"))), rendered(*hostile(text))
    read = outline(tried)
    assert set(read.tags) == set(plain.tags)
    assert read.tags == plain.tags or not text  # nothing is told of an empty name
    assert read.attributes <= ATTRIBUTES
    assert len(tried) < 1_500_000
    assert read.text.replace("\n", "").isprintable()


def test_nothing_is_fetched_and_no_script_is_there() -> None:
    text = rendered(*real(), bench=BENCH)
    read = outline(text)
    assert not {"script", "img", "link", "iframe", "object", "svg", "base", "form"} & set(read.tags)
    assert read.attributes <= ATTRIBUTES
    assert not re.search(r"url\(|@import|expression", text)
    assert "default-src 'none'" in text


# Loads pages in frames of several widths, and writes down what the browser made of them.
WRAPPER = """<!doctype html><meta charset="utf-8"><title>measure</title><pre id="out"></pre><script>
const pages = PAGES, widths = WIDTHS, results = {};
const linear = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
const luminance = c => { const [r, g, b] = c.map(linear);
  return .2126 * r + .7152 * g + .0722 * b; };
const parts = c => (c.match(/[\\d.]+/g) || []).map(Number);
function background(element, view) {
  for (let e = element; e; e = e.parentElement) {
    const c = parts(view.getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
  }
  return [255, 255, 255];
}
function contrasts(doc, view) {
  let least = 21, worst = "";
  for (const e of doc.body.querySelectorAll("*")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const a = luminance(parts(view.getComputedStyle(e).color)), b = luminance(background(e, view));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < least) { least = ratio; worst = e.outerHTML.slice(0, 120); }
  }
  return [least, worst];
}
async function measure() {
  for (const page of pages) for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.style.width = width + "px"; frame.style.height = "900px"; frame.style.border = "0";
    const loaded = new Promise(done => frame.onload = done);
    frame.src = page; document.body.append(frame); await loaded;
    const doc = frame.contentDocument, view = frame.contentWindow, [least, worst] = contrasts(doc, view);
    results[page + " " + width] = { overflow: doc.documentElement.scrollWidth - width, least, worst,
      tags: [...new Set([...doc.querySelectorAll("*")].map(e => e.localName))].sort(), title: doc.title,
      owned: Boolean(view.owned), scripts: doc.scripts.length, images: doc.images.length,
      text: doc.body.innerText.length,
      background: view.getComputedStyle(doc.body).backgroundColor };
    frame.remove();
  }
  document.getElementById("out").textContent = JSON.stringify(results);
}
measure();
</script>"""


def measured(pages: dict[str, str], widths: list[int], *, dark: bool = False) -> dict[str, dict]:
    wrapper = WRAPPER.replace("PAGES", json.dumps(list(pages))).replace("WIDTHS", json.dumps(widths))
    with serving({**pages, "measure.html": wrapper}) as site:
        seen = dom(site.url("measure.html"), dark=dark)
        asked = {path.lstrip("/") for path in site.asked} - {"measure.html", "favicon.ico"}
    assert asked == set(pages), "a page made a request"
    found = re.search(r'<pre id="out">(.*?)</pre>', seen, re.DOTALL)
    assert found
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser_it_fits_and_can_be_read(dark: bool) -> None:
    long_name = hostile("an_unbroken_name_" * 40)
    pages = {
        "real.html": rendered(*real(), bench=BENCH),
        "ok.html": rendered(*real("recorded-torch-251-ct2-460-ok")),
        "files.html": rendered(real()[0], None),
        "long.html": rendered(*long_name),
    }
    results = measured(pages, [320, 400, 1100], dark=dark)
    assert len(results) == 12
    for where, result in results.items():
        assert result["overflow"] <= 0, where
        assert result["least"] >= 4.5, (where, result["worst"])
    assert len({result["background"] for result in results.values()}) == 1
    assert (results["real.html 1100"]["background"] == "rgb(255, 255, 255)") is not dark


def test_in_a_browser_hostile_text_is_text() -> None:
    pages = {
        f"{number}.html": rendered(*hostile(text + "<script>owned = 1</script><img src=/stolen onerror='owned = 1'>"))
        for number, text in enumerate(HOSTILE.values())
    }
    results = measured(pages, [400])
    tags = {tuple(result["tags"]) for result in results.values()}
    assert len(tags) == 1
    for where, result in results.items():
        assert (result["owned"], result["scripts"], result["images"]) == (False, 0, 0), where
        assert result["text"] > 500
        assert result["overflow"] <= 0, where


def test_screenshots(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(rendered(*real(), bench=BENCH), "utf-8")
    url = page.as_uri()
    light = screenshot(url, tmp_path / "light.png")
    dark = screenshot(url, tmp_path / "dark.png", dark=True)
    narrow = screenshot(url, tmp_path / "narrow.png", width=400)
    assert min(map(len, (light, dark, narrow))) > 50_000  # an empty page is some 10 kB
    assert len({light, dark, narrow}) == 3

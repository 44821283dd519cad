"""A real browser on real pages: Debian's chromium without a window, and a server that notes what it is asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.shells import need_program

LIMIT_S = 60
# Under load the browser now and then waits for a frame that never comes; a fresh one draws it.
ATTEMPTS = 3


class Site:
    """Pages by path, and the paths that were asked for."""

    def __init__(self, pages: dict[str, str]) -> None:
        self.pages = pages
        self.asked: list[str] = []
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@contextmanager
def serving(pages: dict[str, str]) -> Iterator[Site]:
    """Serve pages on this machine."""
    site = Site(pages)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            page = site.pages.get(self.path.lstrip("/").partition("?")[0])
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((page or "").encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(url: str, *options: str, dark: bool, width: int, height: int = 1200) -> str:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _run_once(url, *options, dark=dark, width=width, height=height)
        except subprocess.TimeoutExpired:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError


def _run_once(url: str, *options: str, dark: bool, width: int, height: int) -> str:
    known = (shutil.which(name) for name in ("google-chrome", "chromium-browser"))
    program = shutil.which("chromium") or next(filter(None, known), None) or need_program("chromium", "chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program,
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--run-all-compositor-stages-before-draw",
            "--virtual-time-budget=10000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "--no-sandbox",  # refused to root, and on systems that forbid user namespaces; the pages are our own
            *options,
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def dom(url: str, *, dark: bool = False, width: int = 1100) -> str:
    """Return the document as the browser understood it, after its scripts ran."""
    return _run(url, "--dump-dom", dark=dark, width=width)


def screenshot(url: str, file: Path, *, dark: bool = False, width: int = 1100, height: int = 2600) -> bytes:
    """Return a PNG of the page."""
    _run(url, f"--screenshot={file}", dark=dark, width=width, height=height)
    data = file.read_bytes()
    assert re.match(rb"\x89PNG\r\n\x1a\n", data)
    return data

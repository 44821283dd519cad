"""Running the installed command as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GPUDOCTOR = Path(sys.executable).with_name("gpudoctor")


def clean_environment(**more: str) -> dict[str, str]:
    """Return an environment without anything that the command reads, but what is given."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "LC_ALL")}
    return {**kept, **more}


def gpudoctor(
    *arguments: str | Path, cwd: Path | None = None, stdin: str | None = None, wrapper: Sequence[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `gpudoctor` in a clean environment, optionally under a wrapper such as `setpriv`."""
    return subprocess.run(
        [*wrapper, str(GPUDOCTOR), *(str(a) for a in arguments)],
        env=clean_environment(**env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        check=False,
    )

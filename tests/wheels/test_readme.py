"""The README's example is what the command prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.wheels import wheel_env

pytestmark = pytest.mark.wheels

SCRIPT = Path(__file__).parents[2] / "scripts" / "gen_example.py"


def test_the_example_is_current() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, wheel_env("ct2-460-cudnn91"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

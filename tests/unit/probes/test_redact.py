from __future__ import annotations

import pytest

from gpudoctor.probes.redact import _Mask

MASK = {"home": "/home/ann", "user": "ann", "host": "annsbox"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/home/ann/.venv/bin/python", "/home/user/.venv/bin/python"),
        ("/home/ann", "/home/user"),
        ("/home/annette/x", "/home/user/x"),
        ("/home/ann/a:/home/bob/b", "/home/user/a:/home/user/b"),
        ("/data/ann/models", "/data/user/models"),
        ("/opt/channels/lib", "/opt/channels/lib"),
        ("/root/.venv", "/root/.venv"),
        ("C:\\Users\\ann\\venv", "C:\\Users\\user\\venv"),
        ("/Users/ann/venv", "/Users/user/venv"),
        ("on annsbox now", "on host now"),
        ("annsboxes", "annsboxes"),
    ],
)
def test_names_are_masked(text: str, masked: str) -> None:
    assert _Mask(**MASK)(text) == masked


def test_equal_serials_stay_equal_and_different_ones_different() -> None:
    mask = _Mask(**MASK)
    one = "GPU-11111111-2222-3333-4444-555555555555"
    two = "GPU-99999999-2222-3333-4444-555555555555"
    assert mask(f"{one},{two}") == "GPU-redacted-0,GPU-redacted-1"
    assert mask(one) == "GPU-redacted-0"


@pytest.mark.parametrize("path", ["C:\\Users\\Ann Lee\\venv\\x.dll", "C:/Users/Ann Lee/venv/x.dll", "/data/Ann Lee/x"])
def test_a_name_of_two_words_leaves_no_word_behind(path: str) -> None:
    masked = _Mask(home="C:\\Users\\Ann Lee", user="Ann Lee", host="")(path)
    assert "Ann" not in masked
    assert "Lee" not in masked

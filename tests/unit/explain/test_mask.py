"""Nothing that authorises or identifies is shown, also not half of it."""

from __future__ import annotations

import pytest

from gpudoctor.explain.mask import mask
from gpudoctor.explain.rank import explain_lines

SECRETS = {
    "hub": "hf_" + "AbCdEfGhIjKlMnOpQrStUv",
    "github": "ghp_" + "0123456789abcdefghij0123456789",
    "aws": "AKIA" + "ABCDEFGHIJKLMNOP",
    "bearer": "Authorization: Bearer abcdef1234567890",
    "url": "https://ann:hunter22@proxy.example:8080/",
    "query": "https://h.example/x?token=abcdef123456&x=1",
    "password": "password='hunter22secret'",
    "key": "-----BEGIN RSA PRIVATE KEY-----MIIEpAIBAAKCAQEA7",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcDEF",
    "mail": "ann.smith@example.org",
    "linux home": "/home/ann/x",
    "windows home": "C:\\Users\\ann\\x",
    "option": "--hf-token abcdefghij",
    "scheme of one's own": "Authorization: Token abcdefghij",
    "cookie": "Set-Cookie: sid=abcdefghij; Path=/",
    "environment": "ENCRYPTION_KEY=abcdefghij",
    "password of a database": "DB_PASS=hunter22",
    "model provider": "sk-proj-ABCDEFGHIJabcdef",
    "escaped windows home": "C:\\\\Users\\\\ann\\\\x",
    "windows home with a space": "c:/users/ann lee/x",
    "linux home seen from windows": "\\\\wsl$\\Ubuntu\\home\\ann\\x",
    "macos home": "/Users/ann/x",
}
PRIVATE = ("ann", "hunter22", "AbCdEf", "0123456789abcd", "ABCDEFGHIJ", "abcdef123", "MIIEp", "abcDEF", "abcdefghij")


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS.keys())
def test_masked(text: str) -> None:
    line = f"RuntimeError: CUDA failed with error out of memory {text} end"
    shown = explain_lines([line.encode()]).causes[0].excerpt
    assert not [word for word in PRIVATE if word in shown]
    assert "out of memory" in shown


def test_a_secret_at_the_cut_of_a_long_line() -> None:
    for before in range(200, 320, 7):
        line = "CUDA failed with error out of memory " + "x" * before + " hf_" + "Q" * 40
        assert "QQQQ" not in explain_lines([line.encode()]).causes[0].excerpt


def test_plain_text_stays() -> None:
    for text in (
        "/usr/lib/python3/x.py",
        "the token was None",
        "tokenizer: a.json",
        "max_tokens=4096",
        "/root/x",
        "a key: b",
    ):
        assert mask(text) == text

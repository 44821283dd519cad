"""Excerpts without secrets: tokens, keys, passwords, e-mail addresses and the names in home folders."""

from __future__ import annotations

import re

HIDDEN = "[masked]"
# Each group that is kept is numbered; what is not kept is the secret. All repeats are bounded.
_SECRETS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,9000}", HIDDEN),
        (r"\b(?:hf|api_org)_[A-Za-z0-9]{8,200}", HIDDEN),
        (r"\b(?:gh[opsur]_[A-Za-z0-9]{16,255}|github_pat_\w{20,255}|glpat-[\w-]{16,64})", HIDDEN),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", HIDDEN),
        (r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,255}", HIDDEN),
        (r"\bxox[abprs]-[A-Za-z0-9-]{10,255}|\bAIza[\w-]{30,60}|\bnpm_[A-Za-z0-9]{30,60}|\bpypi-[\w-]{20,255}", HIDDEN),
        (r"\beyJ[\w-]{8,2000}\.[\w-]{8,4000}(?:\.[\w-]{0,2000})?", HIDDEN),
        (r"(?i)(\b(?:proxy-)?authorization['\"]?\s{0,3}[=:]\s{0,3}['\"]?)[^'\"\n]{3,4000}", rf"\1{HIDDEN}"),
        (r"(?i)(\b(?:set-)?cookie['\"]?\s{0,3}[=:]\s{0,3}['\"]?)[^'\"\n]{3,4000}", rf"\1{HIDDEN}"),
        (r"(?i)(\b(?:bearer|basic|digest)\s{1,4})[A-Za-z0-9._~+/=-]{8,4000}", rf"\1{HIDDEN}"),
        (r"(\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://)[^\s/@]{1,300}@", rf"\1{HIDDEN}@"),
        (
            r"(?i)((?:[\w-]{0,40}(?:token|secrets?|passw(?:or)?d|passphrase|api[_-]?key|signature|credentials?|"
            r"[_-](?:key|pass|pwd|auth)|\bsig)(?![a-z])[\w-]{0,20})['\"]?\s{0,3}[=:]\s{0,3}['\"]?)"
            r"(?!None\b|True\b|False\b|null\b|\[masked\])[^\s'\"&,;)\]}]{3,4000}",
            rf"\1{HIDDEN}",
        ),
        (r"(?i)(--(?:[\w-]{0,20})(?:token|password|secret|api-key)\s{1,4})[^\s'\"]{3,4000}", rf"\1{HIDDEN}"),
        (r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}", HIDDEN),
        (r"\b(GPU|MIG)-[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b", rf"\1-{HIDDEN}"),
    )
)
# A name with a space in it (Windows) is one only where the path goes on.
_NAME = r"[^/\\:;\s\"'<>|]{1,60}"
_HOME = re.compile(
    r"((?:[/\\]home|/Users|/mnt/[a-z]/Users|[A-Za-z]:(?:\\{1,2}|/)[Uu]sers)(?:/|\\{1,2}))"
    rf"({_NAME}(?: {_NAME}){{1,3}}(?=[/\\])|{_NAME})"
)
_KEPT_USERS = ("root", "user", "Public", "Default", "runner")


def mask(text: str) -> str:
    """Return a text without what identifies or authorises somebody."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return _HOME.sub(lambda match: match[0] if match[2] in _KEPT_USERS else f"{match[1]}user", text)

"""One line of a log as its program wrote it: without colours, carriage returns and what others put before it."""

from __future__ import annotations

import re

# What a terminal obeys: CSI, OSC and single-character sequences.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = dict.fromkeys((*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, *range(0x80, 0xA0)), " ")
# What a chat, a blog or a word processor makes of straight quotation marks.
_CONTROL |= dict.fromkeys((0xB4, 0x2BC, 0x2018, 0x2019, 0x201B), "'") | dict.fromkeys((0x201C, 0x201D, 0x201E), '"')
# Compose writes `service-1  | `, journald and syslog `Nov 20 12:00:00 host unit[123]: `, dmesg `[ 12.345678] `,
# the kubelet `2026-11-20T12:00:00.123456789Z stderr F `. Each may stand before the next.
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\s{0,8}[A-Za-z0-9][\w.-]{0,60}\s{1,40}\|\s",
        r"\[[A-Za-z0-9][\w./-]{0,80}\]\s(?=\S)",
        r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|\s?[+-]\d\d:?\d\d)?\]?:?\s"
        r"(?:std(?:out|err)\s[FP]\s)?",
        r"(?:[A-Z][a-z]{2}\s{1,2}\d{1,2}\s)?\d\d:\d\d:\d\d(?:\.\d{1,6})?\s[\w.-]{1,64}\s"
        r"[\w@./-]{1,64}(?:\[\d{1,8}\])?:\s",
        r"\[\s{0,8}\d{1,9}\.\d{6}\]\s?",
        r"#\d{1,4}\s\d{1,5}\.\d{1,3}\s",
    )
)
_MOST_PREFIXES = 4
# Mails, Markdown and text recognition lose the underscores of a status.
_STATUS = re.compile(r"\b(?:CUBLAS|CUDNN|CUSPARSE|CUSOLVER) STATUS(?: [A-Z]{2,20}){1,5}")
# {"log": "…\n", "stream": "stderr"} of Docker's json-file driver, and what structured loggers write.
_JSON_TEXT = re.compile(r'"(?:log|message|msg|MESSAGE|text|event|error)"\s?:\s?"((?:[^"\\]|\\.){1,7000})"')
_JSON_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_JSON_PLAIN = {"n": " ", "r": " ", "t": " ", "b": " ", "f": " "}


def clean_line(raw: bytes, at: int = 0) -> str:
    """Return the text of a line.

    Args:
        raw: Its bytes, without the newline.
        at: Where in it something was found: of a line that a progress bar rewrote, only the stretch around counts.
    """
    if b"\r" in raw:
        start = raw.rfind(b"\r", 0, at) + 1
        end = raw.find(b"\r", at)
        raw = raw[start : end if end >= 0 else len(raw)]
    if b"\x1b" in raw:
        raw = _ESCAPES.sub(b"", raw)
    text = raw.decode("utf-8", "replace").translate(_CONTROL)
    if text.lstrip().startswith("{") and '":' in text:
        text = _from_json(text)
    return _STATUS.sub(lambda match: match[0].replace(" ", "_"), text) if " STATUS " in text else text


def strip_prefixes(text: str) -> str:
    """Return a line without what containers, journals and loggers put before it."""
    for _ in range(_MOST_PREFIXES):
        for prefix in _PREFIXES:
            match = prefix.match(text)
            if match is not None:
                text = text[match.end() :]
                break
        else:
            break
    return text


def _from_json(text: str) -> str:
    found = [_JSON_ESCAPE.sub(_unescaped, match[1]) for match in _JSON_TEXT.finditer(text)]
    return " ".join(found) if found else text


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return _JSON_PLAIN.get(match[2], match[2])

"""Values of a variable that folder names can lead to, each hard for somebody."""

from __future__ import annotations

DIRECTORIES = {
    "plain": "/srv/app/.venv/lib/python3.11/site-packages/nvidia/cudnn/lib:/opt/x",
    "space": "/srv/my app/lib:/opt/two  blanks/ lib",
    "single quote": "/srv/it's/lib",
    "double quote": '/srv/"x"/lib',
    "only quotes": "/'\"'\"'/''/\"",
    "dollar": "/srv/$HOME/$(id)/$$/$1/$",
    "dollar brace": "/srv/${HOME}/lib",
    "backtick": "/srv/`id`/lib",
    "backslash": "/srv/a\\b/\\n/\\'/end\\",
    "backslash within": "/srv/a\\b/c",
    "backslash at the end": "/srv/a\\",
    "two backslashes": "/srv/a\\\\server/x",
    "history": "/srv/wow!/!!/!ls/!$/a!",
    "history in quotes": "/srv/it's!/\"!\"/\\!/'!'",
    "newline": "/srv/two\nlines/lib",
    "newlines": "/srv/\n/two\n\nlines\n/x\ny'z\n!a\\\nb",
    "tab": "/srv/a\tb",
    "glob": "/srv/*/?/[a-z]/{a,b}/~/~root",
    "control": "/srv/\x1b[31mred/\x07\x7f/\r/x",
    "percent": "/srv/100%/%h/%%/x",
    "unicode": "/srv/M\u00fcller/\u65e5\u672c\u8a9e/\U0001f642/\u2019/\u00a0x",
    "operators": "/srv/a;b&c|d<e>f(g)h#i%j^k=l,m@n",
    "comment": "/srv/ #not a comment",
    "leading dash": "-n /srv/x",
    "empty element of the user's": "/srv/x::/y:",
    "long": "/" + "d'$ !" * 2000,
}

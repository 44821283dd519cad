"""Small files that would grow beyond any memory or time: read in bounds, and what was not followed is open."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gpudoctor.model.errors import InputFileError
from unit.lint.builders import lint

MEMORY_BYTES = 1 << 30
LIMIT_S = 120

DOUBLED = 'A="$A$A"\n' * 40
LIST = 'A=("${A[@]}" "${A[@]}")\n' * 40
MODAL = "import modal\n{}image = modal.Image.debian_slim().pip_install({})\n"


def loops(depth: int) -> str:
    text = "pip install $X torchaudio==2.5.1\n"
    for level in range(depth):
        text = f"for v{level} in {' '.join(map(str, range(30)))}; do\n{text}done\n"
    return text


def names(line: str) -> str:
    return "".join(line.format(new=f"A{n + 1}", old=f"A{n}") for n in range(9))


BOMBS = {
    "variables": ("install.sh", f"A=xxxxxxxxxxxxxxxx\n{DOUBLED}pip install $A\n"),
    "words": ("install.sh", f"A=xxxxxxxxxxxxxxxx\n{DOUBLED.replace('=', '=x')}pip install {'$A ' * 5000}\n"),
    "lists": ("install.sh", f'A=(a b)\n{LIST}pip install "${{A[@]}}"\n'),
    "many-words": ("install.sh", f"A={'x' * 100_000}\npip install {'$A' * 20_000}{' $A' * 20_000}\n"),
    "loops": ("install.sh", loops(8)),
    "env": ("Dockerfile", "FROM ubuntu\nENV A=xxxxxxxx\n" + "ENV A=$A$A\n" * 40 + "RUN pip install $A\n"),
    "arg": ("Dockerfile", "FROM ubuntu\nARG A=xxxxxxxx\n" + "ARG A=${A}${A}\n" * 40 + "RUN pip install $A\n"),
    "loops-in-every-line": (
        "Dockerfile",
        "FROM ubuntu\n" + "RUN {}\n".format(loops(8).strip().replace("do\n", "do ").replace("\n", "; ")) * 2000,
    ),
    "texts": ("image.py", MODAL.format('A0="x"\n' + names('{new}=f"' + "{{{old}}}" * 20 + '"\n'), "A9")),
    "text-of-itself": ("image.py", MODAL.format('A=f"{A}x"\n', "A")),
    "lists-of-lists": ("image.py", MODAL.format('A0=["x"]\n' + names("{new}=[" + "*{old}," * 20 + "]\n"), "*A9")),
    "list-of-itself": ("image.py", MODAL.format('A=["torch==2.5.1", *A]\n', "*A")),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_multiplies_itself_is_read_in_bounds(tmp_path: Path, name: str) -> None:
    file, text = BOMBS[name]
    (tmp_path / file).write_text(text)

    def poor() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    command = (sys.executable, "-m", "gpudoctor", "lint", "--no-config", "--strict", file)
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, preexec_fn=poor, check=False
    )
    assert done.returncode in (1, 3), done.stderr
    assert "not understood" in done.stdout


def test_what_scripts_really_repeat_is_followed(tmp_path: Path) -> None:
    text = 'BASE=2.5.1\nALL="torch==$BASE torchaudio==2.4.1"\n'
    text += "for p in $ALL; do for n in 1 2 3; do pip install $p; done; done\n"
    (tmp_path / "install.sh").write_text(text)
    command = (sys.executable, "-m", "gpudoctor", "lint", "--no-config", "install.sh")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert "GPD402" in done.stdout or "GPD472" in done.stdout, done.stdout
    assert "not understood" not in done.stdout


def test_a_folder_of_more_files_than_are_looked_at_says_so(tmp_path: Path) -> None:
    files = {f"all/requirements-{number}.txt": "numpy==2.1.3\n" for number in range(2001)}
    said = "more than the 2000 files"
    assert [q for q in lint(tmp_path, files, "all").verdict.open if said in q.reason]
    (tmp_path / "all" / "requirements-0.txt").unlink()
    assert not [q for q in lint(tmp_path, {}, "all").verdict.open if said in q.reason]


def test_a_file_that_leads_to_more_than_are_followed_says_so(tmp_path: Path) -> None:
    files = {f"r{number}.txt": "numpy==2.1.3\n" for number in range(501)}
    files["requirements.txt"] = "".join(f"-r {name}\n" for name in files)
    reasons = [question.reason for question in lint(tmp_path, files, "requirements.txt").verdict.open]
    assert [r for r in reasons if "more than the 500 files" in r]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("requirements.txt", f'torch==2.5.1 ; {"(" * 500}python_version < "3"{")" * 500}\n'),
        ("Dockerfile", "FROM a AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(2000))),
    ],
)
def test_a_file_that_nests_without_end_is_one_sentence(tmp_path: Path, file: str, text: str) -> None:
    with pytest.raises(InputFileError, match=f"{file}: nested too deeply"):
        lint(tmp_path, {file: text})

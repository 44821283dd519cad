"""The plain comparison of versions against packaging's, and where it leaves the answer to packaging."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from gpudoctor.matrix.load import load_data
from gpudoctor.matrix.versions import _matches_plainly, matches_version

NUMBERS = st.lists(st.integers(0, 12), min_size=1, max_size=5).map(lambda parts: ".".join(map(str, parts)))
ONE = st.one_of(
    st.tuples(st.sampled_from([">=", "<=", "==", "!=", ">", "<"]), NUMBERS).map("".join),
    st.tuples(st.sampled_from(["==", "!="]), NUMBERS).map(lambda parts: f"{parts[0]}{parts[1]}.*"),
)
SETS = st.lists(ONE, min_size=1, max_size=3).map(",".join)


@given(SETS, NUMBERS)
def test_plain_numbers_compare_as_packaging_compares_them(specifiers: str, version: str) -> None:
    assert _matches_plainly(specifiers, version) == SpecifierSet(specifiers).contains(version, prereleases=True)


@pytest.mark.parametrize(
    ("specifiers", "version", "answer"),
    [
        ("", None, True),
        (">=1", None, False),
        (">=1", "not a version", False),
        (">=2.5.1", "2.5.1+cu124", True),
        ("==2.5.1+cu124", "2.5.1", True),
        ("~=2.8.0", "2.8.3", True),
        ("~=2.8.0", "2.9.0", False),
        (">=2.0", "2.0rc1", False),
        (">=2.0.0", "2.0.post1", True),
        ("===2.0", "2.0", True),
        (" >= 1.0 , < 2 ", "1.5", True),
        (">=1!1.0", "2.0", False),
    ],
)
def test_everything_else_is_packagings(specifiers: str, version: str | None, answer: bool) -> None:
    assert matches_version(specifiers, version) is answer


def test_nearly_all_of_the_matrix_is_compared_without_packaging() -> None:
    specifiers = {fact.when.versions for fact in load_data().facts if fact.when.versions}
    plain = [text for text in specifiers if _matches_plainly(text, "1.0") is not None]
    assert len(plain) > 0.95 * len(specifiers)


def test_packaging_is_not_loaded_for_them() -> None:
    code = "from gpudoctor.matrix.versions import matches_version as m; assert m('>=4,<5', '4.6.0'); "
    code += "import sys; assert 'packaging.specifiers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""`gpudoctor matrix`: the facts that verdicts rest on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import MatrixOption, emit

if TYPE_CHECKING:
    from gpudoctor.matrix.index import Matrix

app = typer.Typer(
    no_args_is_help=True, help="The compatibility matrix: list its facts, show one, check a file of your own."
)


@app.command("list")
def list_facts(
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="PACKAGE", help="Only facts about this package, or `cuda`.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="Only facts of this kind: `requires`, `pairs-with`, …")
    ] = None,
    matrix_file: MatrixOption = None,
) -> int:
    """List the facts, one line each: id, subject, releases, kind, status.

    Example: gpudoctor matrix list --subject ctranslate2 --kind needs-library
    """
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.report.matrix import render_fact_list

    matrix = load_matrix(matrix_file)
    if subject is not None:
        subject = re.sub(r"[-_.]+", "-", subject).lower()  # as package indexes compare names
        _require_subject(matrix, subject)
    if kind is not None:
        _require_kind(kind)
    emit(render_fact_list(matrix, subject, kind), None)
    return 0


@app.command("show")
def show(
    fact_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a fact; `gpudoctor matrix list` has them all.")],
    matrix_file: MatrixOption = None,
) -> int:
    """Show one fact: what it claims, for which releases, how well it is known and where it was read.

    Example: gpudoctor matrix show ctranslate2-cudnn9
    """
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.report.matrix import render_fact

    matrix = load_matrix(matrix_file)
    fact = matrix.fact(fact_id)
    if fact is None:
        near = _near(fact_id, [known.id for known in matrix.data.facts])
        raise UsageError(f"the matrix has no fact {fact_id!r}; {near}`gpudoctor matrix list` lists them all")
    emit(render_fact(fact), None)
    return 0


@app.command("validate")
def validate(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]…", help="YAML files for --matrix. Default: the matrix of gpudoctor itself."),
    ] = None,
) -> int:
    """Check files for --matrix: an error names the file, the line and what was expected, with exit status 2.

    Example: gpudoctor matrix validate our-facts.yaml
    """
    import posixpath

    from gpudoctor.matrix.load import validate_files, validate_own
    from gpudoctor.report.matrix import render_validated

    for file, content in validate_files(tuple(files)) if files else (validate_own(),):
        emit(render_validated(posixpath.normpath(file), content), None)
    return 0


def _require_subject(matrix: Matrix, subject: str) -> None:
    if not matrix.knows(subject):
        from gpudoctor.model.errors import UsageError

        known = sorted({fact.subject for fact in matrix.data.facts})
        near = _near(subject, known)
        raise UsageError(f"the matrix has no fact about {subject!r}; {near}it knows {', '.join(known)}")


def _near(text: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(text, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _require_kind(kind: str) -> None:
    from gpudoctor.matrix.claims import KINDS

    if kind not in KINDS:
        from gpudoctor.model.errors import UsageError

        raise UsageError(f"no facts are of the kind {kind!r}; there are {', '.join(sorted(KINDS))}")

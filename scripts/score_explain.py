"""Score `gpudoctor explain` on a file of real logs: precision and recall per cause, accuracy, what stays unrecognised.

Usage: scripts/score_explain.py FILE [-v]

FILE is a YAML list of cases: `id`, `log`, `cause`, `also_acceptable`, `decidable_from_log`. Such files hold other
people's words and stay outside the repository.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from gpudoctor.explain.rank import explain_lines

NOTHING = "not-recognised"


def answer_for(log: str) -> str:
    causes = explain_lines(log.encode("utf-8", "surrogateescape").splitlines(keepends=True)).causes
    return causes[0].cause if causes else NOTHING


def is_right(case: dict[str, Any], answer: str) -> bool:
    return answer == case["cause"] or answer in case.get("also_acceptable", ())


def share(part: int, whole: int) -> str:
    return f"{part}/{whole} = {100 * part / whole:.1f} %" if whole else "none"


def print_table(cases: list[dict[str, Any]], answers: list[str]) -> None:
    truly, said, hit = Counter[str](), Counter[str](), Counter[str]()
    for case, answer in zip(cases, answers, strict=True):
        # An acceptable answer counts as the cause itself: it is neither a miss of the one nor a false other.
        counted = case["cause"] if is_right(case, answer) else answer
        truly[case["cause"]] += 1
        said[counted] += 1
        hit[counted] += counted == case["cause"]
    print(f"{'cause':<30} {'cases':>5} {'precision':>10} {'recall':>7}")
    for cause in sorted(truly | said):
        precision = f"{hit[cause] / said[cause]:.2f}" if said[cause] else "-"
        recall = f"{hit[cause] / truly[cause]:.2f}" if truly[cause] else "-"
        print(f"{cause:<30} {truly[cause]:>5} {precision:>10} {recall:>7}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("-v", "--verbose", action="store_true", help="print every wrong answer")
    arguments = parser.parse_args()
    cases = yaml.safe_load(arguments.file.read_text("utf-8"))
    answers = [answer_for(case["log"]) for case in cases]
    print_table(cases, answers)
    judged = list(zip(cases, answers, strict=True))
    decidable = [(c, a) for c, a in judged if c.get("decidable_from_log", True)]
    strangers = [(c, a) for c, a in judged if c["cause"] == NOTHING]
    print(f"\ndecidable from the log:  {share(sum(is_right(c, a) for c, a in decidable), len(decidable))}")
    print(f"all:                     {share(sum(is_right(c, a) for c, a in judged), len(judged))}")
    print(f"exactly the cause:       {share(sum(a == c['cause'] for c, a in judged), len(judged))}")
    print(f"rightly unrecognised:    {share(sum(a == NOTHING for _, a in strangers), len(strangers))}")
    if arguments.verbose:
        for case, answer in judged:
            if not is_right(case, answer):
                print(f"  {case['id']}: {case['cause']} wanted, {answer} said")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

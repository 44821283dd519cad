"""Print the action's outputs, from the SARIF file that gpudoctor wrote, as GITHUB_OUTPUT takes them."""

import json
import sys
import uuid


def main(sarif: str, status: str) -> None:
    """Print one `name=value` a line; the path between delimiters that nobody can guess."""
    with open(sarif, encoding="utf-8") as stream:
        numbers = json.load(stream)["runs"][0]["properties"]
    print(f"exit-status={int(status)}")
    for name in ("errors", "warnings"):
        print(f"{name}={int(numbers[name])}")
    delimiter = uuid.uuid4().hex
    print(f"sarif<<{delimiter}\n{sarif}\n{delimiter}")


if __name__ == "__main__":
    main(*sys.argv[1:])

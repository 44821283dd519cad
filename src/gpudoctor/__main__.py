"""The `gpudoctor` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the only place where the process ends."""
    from gpudoctor.cli.app import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()

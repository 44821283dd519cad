"""The `gpudoctor` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the only place where the process ends."""
    import gc

    # A short command ends before a collection pays; a long one still gets its collections.
    gc.set_threshold(50_000)
    from gpudoctor.cli.app import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()

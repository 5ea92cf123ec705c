"""The entry point of the ``vrxmpp`` command."""

from __future__ import annotations

from vrxmpp.cli.main import cli


def main() -> None:
    """Run the command line and end the process with its exit code."""
    cli(prog_name="vrxmpp")


if __name__ == "__main__":
    main()

"""Runs every benchmark of this machine's CPU and prints one table: ``python -m benchmarks``."""

from __future__ import annotations

from benchmarks import startup


def main() -> None:
    """Print the tables."""
    startup.main()


if __name__ == "__main__":
    main()

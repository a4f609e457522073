"""Runs the start-up benchmarks: ``python -m benchmarks``. What sweeps cost is ``python -m benchmarks.cost``."""

from __future__ import annotations

import sys

from benchmarks import startup


def main() -> int:
    """Print the tables; 1 if a goal is missed."""
    return 0 if startup.main() else 1


if __name__ == "__main__":
    sys.exit(main())

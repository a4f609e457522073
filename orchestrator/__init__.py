"""Plan, run, keep and query sweeps of training stages; knows nothing of neural networks.

From Python:

    import orchestrator

    store = orchestrator.open_store("warmgrid-store")
    store.sql("SELECT init, avg(test_accuracy) FROM results GROUP BY init").to_pandas()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.stage import Stage
    from orchestrator.store import Store, open_store
    from orchestrator.sweep import Sweep, Trial

__all__ = ["Stage", "Store", "Sweep", "Trial", "open_store"]
HOME = {"Stage": "stage", "Store": "store", "Sweep": "sweep", "Trial": "sweep", "open_store": "store"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that ``warmgrid --help`` need not wait for pydantic."""
    if name not in HOME:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}. It has: {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"orchestrator.{HOME[name]}"), name)

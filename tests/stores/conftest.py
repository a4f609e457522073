"""What these tests share with those of the orchestrator."""

from tests.orchestrator.conftest import lab, unsynced

__all__ = ["lab", "unsynced"]

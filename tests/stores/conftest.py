"""What these tests share with those of the orchestrator."""

from tests.orchestrator.conftest import lab

__all__ = ["lab"]

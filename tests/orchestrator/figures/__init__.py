"""Tests of orchestrator/figures, one file per module."""

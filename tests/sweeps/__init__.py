"""Tests of sweeps/, one file per module."""

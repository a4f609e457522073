"""Benchmarks: what things cost, as medians of repeated runs; never part of the tests."""

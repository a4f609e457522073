"""Tests that kill processes, cut the power, and look at what is left."""

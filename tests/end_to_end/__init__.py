"""Tests of the whole path with real processes: a real Ray cluster on this machine, real SIGKILLs, real images."""

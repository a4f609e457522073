"""Tests with real Ray clusters of several nodes, and of what keeps strangers out of clusters and stores."""

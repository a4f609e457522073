"""Stores as released versions wrote them, what makes one, and the tests that read them."""

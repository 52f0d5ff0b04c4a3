"""Fixtures of the cross-process tests; the servers come from the root conftest.py."""

"""Servers and other helpers for tests of every package."""

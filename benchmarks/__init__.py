"""Benchmarks: measured claims, each a command, against a peer measured in the same run."""

"""Ingest: accepts metrics, validates them, puts them on the bus and answers once they are durable. Owns no tables."""

__version__ = "0.1.0"

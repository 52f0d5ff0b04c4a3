"""Searches with MLflow's filter grammar, extended by OR, NOT and parentheses; see docs/search.md.

What a service adds: its fields (``FieldTable``), how a clause over them becomes SQL, and its statements.
"""

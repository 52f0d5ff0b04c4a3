"""Registered models and their versions: what they are, where their files come from, and where they went."""

"""Prompts: templates with variables and settings, kept as versions of models that MLflow reads as prompts."""

"""Artifacts: files of runs, logged models and model versions, sent straight to and fetched straight from the object store."""

"""Artifacts: MLflow's proxy, its listings and downloads, multipart uploads and signed URLs."""

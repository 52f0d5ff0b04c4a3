"""Our own HTTP API under /api/runstream/v1, for what MLflow has no words for."""

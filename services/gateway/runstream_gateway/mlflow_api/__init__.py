"""MLflow's REST API, one module an area."""

"""MLflow's web UI: finds its static build and serves it."""

"""The GraphQL endpoint that MLflow's web UI reads runs and experiments with."""

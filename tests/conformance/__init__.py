"""The real MLflow client against MLflow's server and ours: what it shows must be the same."""

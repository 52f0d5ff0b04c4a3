"""MLflow's model registry and prompts over the registry service. Prompts are registered models with a tag, as in MLflow."""

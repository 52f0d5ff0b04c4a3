"""Pages for people: what MLflow's web UI has no page for. Rendered here, readable without scripts."""

"""Reading experiments, runs and metrics, for programs, notebooks and exports."""

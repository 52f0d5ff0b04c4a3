"""The speed of MLflow's HTTP API: one generator and one set of measurements, for MLflow's server and for our gateway."""

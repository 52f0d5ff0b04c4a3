"""The HTTP edge: translates MLflow's REST API, pages and our own API to calls of the services. Owns no tables."""

__version__ = "0.1.0"

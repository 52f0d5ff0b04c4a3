"""MLflow's client on Runstream: `mlflow.set_tracking_uri("runstream://host:5000")` and nothing else.

MLflow finds the plugin by its entry points (see `entry_points`). Metrics go over gRPC with the SDK's buffering,
everything else over the gateway's REST API.
"""

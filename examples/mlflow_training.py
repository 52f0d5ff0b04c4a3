"""Training code that knows MLflow alone: the only line that is ours is the tracking URI.

python examples/mlflow_training.py http://localhost:5000         # over MLflow's REST API
python examples/mlflow_training.py runstream://localhost:5000    # metrics over gRPC, buffered
"""

from __future__ import annotations

import sys
import warnings

import mlflow
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

EXPERIMENT = "digits with MLflow"
MODEL = "digits-mlflow"
ALIAS = "candidate"


def main(tracking_uri: str) -> None:
    """Train with autologging, register the model, load it back by its alias and predict."""
    # scikit-learn's and MLflow's own advice about each other, at length.
    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(EXPERIMENT)
    mlflow.sklearn.autolog(registered_model_name=MODEL, silent=True)

    features, labels = load_digits(return_X_y=True, as_frame=True)
    train_x, test_x, train_y, test_y = train_test_split(features, labels, test_size=0.25, random_state=0)
    with mlflow.start_run(run_name="autologged") as run:
        model = RandomForestClassifier(n_estimators=40, random_state=0).fit(train_x, train_y)
        mlflow.log_metric("test_accuracy", model.score(test_x, test_y))

    client = mlflow.MlflowClient()
    newest = max(client.search_model_versions(f"name = '{MODEL}'"), key=lambda found: int(found.version))
    client.set_registered_model_alias(MODEL, ALIAS, newest.version)
    loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@{ALIAS}")
    right = (loaded.predict(test_x) == test_y).mean()

    logged = mlflow.get_run(run.info.run_id)
    print(
        f"run {run.info.run_id}: {len(logged.data.params)} params, {len(logged.data.metrics)} metrics, autologged"
    )
    print(
        f"models:/{MODEL}@{ALIAS} is version {newest.version}, loaded back it is right in {right:.1%} of the test set"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:5000")

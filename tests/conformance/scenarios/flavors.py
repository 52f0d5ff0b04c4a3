"""Models logged, registered, loaded and served with MLflow's flavors, and autologging."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

if TYPE_CHECKING:
    from tests.conformance.world import World

_X, _Y = load_iris(return_X_y=True, as_frame=True)


class Doubler(mlflow.pyfunc.PythonModel):
    """Twice the input."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """The prediction."""
        return model_input * 2


def scenario_sklearn(world: World) -> None:
    name = world.name("iris")
    with world.active(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_experiment(world.name("flavor"))
        model = LogisticRegression(max_iter=200).fit(_X, _Y)
        with mlflow.start_run(run_name="r") as run:
            mlflow.log_metric("accuracy", 0.9)
            info = mlflow.sklearn.log_model(
                model,
                name="model",
                signature=infer_signature(_X, model.predict(_X)),
                registered_model_name=name,
                pip_requirements=["scikit-learn"],
                serialization_format="cloudpickle",
            )
        world.see("info", [info.name if hasattr(info, "name") else None, info.registered_model_version])
        by_version = mlflow.sklearn.load_model(f"models:/{name}/1")
        world.see("by version", by_version.predict(_X[:5]))
        world.client.set_registered_model_alias(name, "champion", 1)
        world.see("by alias", mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(_X[:5]))
        world.see("by model", mlflow.pyfunc.load_model(info.model_uri).predict(_X[:5]))
        world.see("by run", mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model").predict(_X[:5]))
        found = world.client.get_logged_model(info.model_id)
        world.see("model", [found.name, found.status, sorted(found.tags), [m.key for m in found.metrics]])
        world.see("outputs", world.client.get_run(run.info.run_id).outputs)
        version = world.client.get_model_version(name, "1")
        world.see("version", [version.status, version.source, version.run_id, version.model_id])
        files = mlflow.artifacts.list_artifacts(info.model_uri)
        world.see("files", sorted(item.path.rpartition("/")[2] for item in files))
        signature = mlflow.models.get_model_info(f"models:/{name}/1").signature
        world.see("signature", signature.to_dict())


def scenario_pyfunc(world: World) -> None:
    with world.active(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_experiment(world.name("pyfunc"))
        data = world.folder / "data.txt"
        data.write_text("42")
        with mlflow.start_run(run_name="r"):
            info = mlflow.pyfunc.log_model(
                name="double",
                python_model=Doubler(),
                artifacts={"data": str(data)},
                pip_requirements=["mlflow"],
                input_example=pd.DataFrame({"x": [1, 2]}),
            )
        loaded = mlflow.pyfunc.load_model(info.model_uri)
        world.see("prediction", loaded.predict(pd.DataFrame({"x": [1, 2, 3]}))["x"].tolist())
        world.see("example", loaded.input_example)
        registered = mlflow.register_model(info.model_uri, world.name("double"))
        world.see("registered", [registered.version, registered.status])
        world.see("again", mlflow.register_model(info.model_uri, world.name("double")).version)


def scenario_xgboost(world: World) -> None:
    import xgboost

    with world.active(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_experiment(world.name("xgboost"))
        model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, random_state=0).fit(_X, _Y)
        with mlflow.start_run(run_name="r"):
            info = mlflow.xgboost.log_model(
                model, name="model", pip_requirements=["xgboost"], model_format="json"
            )
        world.see("prediction", mlflow.xgboost.load_model(info.model_uri).predict(_X[:5]))


def scenario_sklearn_autolog(world: World) -> None:
    with world.active(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_experiment(world.name("autolog"))
        mlflow.sklearn.autolog(log_models=True, log_datasets=True, silent=True)
        try:
            with mlflow.start_run(run_name="r") as run:
                LogisticRegression(max_iter=200, random_state=0).fit(_X, _Y)
        finally:
            mlflow.sklearn.autolog(disable=True)
        found = mlflow.get_run(run.info.run_id)
        world.see("params", found.data.params)
        world.see("metrics", {key: round(value, 6) for key, value in found.data.metrics.items()})
        world.see("tags", sorted(found.data.tags))
        world.see("inputs", [[i.dataset.digest, i.tags] for i in found.inputs.dataset_inputs])
        world.see("outputs", len(found.outputs.model_outputs))
        world.see("files", sorted(item.path for item in world.client.list_artifacts(run.info.run_id)))
        models = mlflow.search_logged_models([found.info.experiment_id], output_format="list")
        world.see("models", [[m.name, m.status, sorted(x.key for x in m.metrics)] for m in models])


def scenario_grid_search_autolog(world: World) -> None:
    with world.active(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_experiment(world.name("grid"))
        mlflow.sklearn.autolog(max_tuning_runs=3, log_models=False, silent=True)
        try:
            with mlflow.start_run(run_name="search") as run:
                GridSearchCV(LogisticRegression(max_iter=50), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(_X, _Y)
        finally:
            mlflow.sklearn.autolog(disable=True)
        children = mlflow.search_runs(
            filter_string=f"tags.`mlflow.parentRunId` = '{run.info.run_id}'",
            order_by=["params.C"],
            output_format="list",
        )
        world.see(
            "children", [[c.data.params.get("C"), sorted(c.data.metrics), c.info.status] for c in children]
        )
        world.see("best", mlflow.get_run(run.info.run_id).data.params.get("best_C"))


def scenario_evaluation(world: World) -> None:
    with world.active(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_experiment(world.name("evaluate"))
        data = pd.DataFrame({"target": [1.0, 2.0, 3.0], "prediction": [1.1, 1.9, 3.2]})
        with mlflow.start_run(run_name="r") as run:
            result = mlflow.models.evaluate(
                data=data, targets="target", predictions="prediction", model_type="regressor"
            )
        world.see("metrics", sorted(result.metrics))
        stored = mlflow.get_run(run.info.run_id).data.metrics
        world.see("stored", {key: round(value, 6) for key, value in stored.items() if np.isfinite(value)})

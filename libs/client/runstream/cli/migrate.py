"""`runstream import mlflow` and `runstream export mlflow`: whole deployments, there and back."""

from pathlib import Path
from typing import Annotated

import typer

from runstream.cli.options import Json, Url
from runstream.migration.addresses import mlflow_uri, require_mlflow

app = typer.Typer(no_args_is_help=True, help="Bring data of other systems in.")

DEFAULT_GATEWAY = "http://localhost:5000"

Experiment = Annotated[
    list[str] | None, typer.Option("--experiment", "-e", help="Only the experiment of this name; repeatable.")
]
Model = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Only the registered model or prompt of this name; repeatable."),
]
ArtifactsFrom = Annotated[
    str,
    typer.Option(
        "--artifacts-from",
        metavar="DIR|URI",
        help="What mlflow-artifacts:/ stands for (the server's --artifacts-destination), when --from is a database.",
    ),
]
NoArtifacts = Annotated[bool, typer.Option("--no-artifacts", help="Leave files out.")]
NoRegistry = Annotated[bool, typer.Option("--no-registry", help="Leave registered models and prompts out.")]
State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        dir_okay=False,
        help="File that remembers what is done. [default: one for each pair of addresses]",
    ),
]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Runs at once.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what there is and write nothing.")]


@app.callback()
def _group() -> None:
    """Keep `mlflow` a subcommand although it is the only one."""


@app.command("mlflow")
def import_mlflow(
    *,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="URI",
            help="http(s)://host:port of an MLflow server, or its database: postgresql://…, sqlite:///file, or an mlruns folder.",
        ),
    ],
    experiment: Experiment = None,
    model: Model = None,
    artifacts_from: ArtifactsFrom = "",
    no_artifacts: NoArtifacts = False,
    no_registry: NoRegistry = False,
    state: State = None,
    workers: Workers = 4,
    dry_run: DryRun = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Bring a whole MLflow deployment over: experiments, runs, metrics, files, models, prompts.

    Ids of runs and logged models, numbers of versions, names and times stay. A repeated call goes on where the last one
    stopped. In the end everything is counted on both sides; differences make the exit code 1.
    """
    require_mlflow()
    from runstream.cli import migrating  # noqa: PLC0415 - loads MLflow

    scope = migrating.scope(
        experiment, model, files=not no_artifacts, registry=not no_registry, workers=workers
    )
    with migrating.told():
        reader = migrating.MlflowSource(mlflow_uri(source, "--from"), artifacts_from)
        if dry_run:
            migrating.count_only(reader, scope, json=json)
        else:
            migrating.migrate(reader, migrating.RunstreamTarget(url), scope, state, json=json)


def export_mlflow(
    *,
    target: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URI",
            help="http(s)://host:port of an MLflow server, or its database: postgresql://…, sqlite:///file.",
        ),
    ],
    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="Address of Runstream's gateway.")
    ] = DEFAULT_GATEWAY,
    experiment: Experiment = None,
    model: Model = None,
    no_artifacts: NoArtifacts = False,
    no_registry: NoRegistry = False,
    state: State = None,
    workers: Workers = 4,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write everything into MLflow: experiments, runs, metrics, files, models, prompts.

    MLflow gives runs, logged models and experiments new ids; runs keep theirs in the tag runstream.source_run_id. A
    repeated call goes on where the last one stopped. In the end everything is counted on both sides; differences make the
    exit code 1.
    """
    require_mlflow()
    from runstream.cli import migrating  # noqa: PLC0415 - loads MLflow

    scope = migrating.scope(
        experiment, model, files=not no_artifacts, registry=not no_registry, workers=workers
    )
    with migrating.told():
        reader = migrating.MlflowSource(mlflow_uri(source, "--from"))
        if dry_run:
            migrating.count_only(reader, scope, json=json)
        else:
            writer = migrating.MlflowTarget(mlflow_uri(target, "--to"))
            migrating.migrate(reader, writer, scope, state, json=json)

"""Files of runs through the client and the proxy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
import requests

if TYPE_CHECKING:
    from tests.conformance.world import World

_ROOT = "/api/2.0/mlflow-artifacts/artifacts"


def _run(world: World) -> str:
    run_id: str = world.client.create_run(world.experiment(), run_name="r").info.run_id
    return run_id


def _tree(world: World, run_id: str, path: str | None = None) -> list[list[object]]:
    entries: list[list[object]] = []
    for info in world.client.list_artifacts(run_id, path):
        entries.append([info.path, info.is_dir, info.file_size])
        if info.is_dir:
            entries += _tree(world, run_id, info.path)
    return entries


def scenario_files(world: World) -> None:
    run_id = _run(world)
    folder = world.folder / "up"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha")
    (folder / "empty.bin").write_bytes(b"")
    (folder / "deep" / "ünï cödé.json").write_text('{"a": 1}')
    (folder / "deep" / "deeper" / "b.bin").write_bytes(bytes(range(256)) * 1_000)
    world.client.log_artifacts(run_id, str(folder))
    world.client.log_artifacts(run_id, str(folder), "again")
    world.client.log_artifact(run_id, str(folder / "a.txt"), "single")
    world.see("tree", _tree(world, run_id))
    world.see("of a file", world.client.list_artifacts(run_id, "a.txt"))
    world.see("of nothing", world.client.list_artifacts(run_id, "nothing"))
    down = Path(world.client.download_artifacts(run_id, "", str(_made(world.folder / "down"))))
    world.see(
        "down", {str(p.relative_to(down)): p.read_bytes() for p in sorted(down.rglob("*")) if p.is_file()}
    )
    single = Path(
        world.client.download_artifacts(run_id, "deep/deeper/b.bin", str(_made(world.folder / "one")))
    )
    world.see("one", single.stat().st_size)
    world.refused(
        "missing", lambda: world.client.download_artifacts(run_id, "nothing", str(_made(world.folder / "no")))
    )
    (folder / "a.txt").write_text("beta")
    world.client.log_artifact(run_id, str(folder / "a.txt"))
    world.see("replaced", _body(world, run_id, "a.txt"))
    world.client.delete_run(run_id)
    world.see("of a deleted run", _tree(world, run_id))


def scenario_helpers(world: World) -> None:
    run_id = _run(world)
    world.client.log_text(run_id, "hello\nthere", "notes/hello.txt")
    world.client.log_dict(run_id, {"a": [1, 2], "b": None}, "data.json")
    world.client.log_dict(run_id, {"a": [1, 2]}, "data.yaml")
    world.client.log_image(run_id, np.full((4, 4, 3), 128, dtype=np.uint8), "image.png")
    world.client.log_table(run_id, {"x": [1, 2], "y": ["a", "b"]}, "table.json")
    world.client.log_table(run_id, pd.DataFrame({"x": [3], "y": ["c"]}), "table.json")
    world.see("tree", [[path, is_dir] for path, is_dir, _ in _tree(world, run_id)])
    world.see("tags", world.client.get_run(run_id).data.tags)
    with world.active():
        uri = f"runs:/{run_id}"
        world.see("text", mlflow.artifacts.load_text(f"{uri}/notes/hello.txt"))
        world.see("dict", mlflow.artifacts.load_dict(f"{uri}/data.json"))
        experiment_id = world.client.get_run(run_id).info.experiment_id
        mlflow.set_experiment(experiment_id=experiment_id)
        world.see("table", mlflow.load_table("table.json", run_ids=[run_id]))
        world.see("image", mlflow.artifacts.load_image(f"{uri}/image.png").size)
        listed = mlflow.artifacts.list_artifacts(world.client.get_run(run_id).info.artifact_uri)
        world.see("list", [[item.path, item.is_dir] for item in listed])


def scenario_proxy(world: World) -> None:
    run_id = _run(world)
    uri = world.client.get_run(run_id).info.artifact_uri
    base = uri.replace("mlflow-artifacts:", "")
    put = requests.put(f"{world.url}{_ROOT}{base}/dir/data.json", data=b'{"a": 1}', timeout=30)
    world.see("put", [put.status_code, put.content])
    for name in (
        "page.html",
        "image.svg",
        "table.csv",
        "code.py",
        "MLmodel",
        "model.pkl",
        "notes.md",
        "x.yaml",
        "zero",
    ):
        requests.put(
            f"{world.url}{_ROOT}{base}/{name}", data=b"" if name == "zero" else b"content", timeout=30
        )
        got = requests.get(f"{world.url}{_ROOT}{base}/{name}", timeout=30)
        world.see(
            name,
            [
                got.status_code,
                got.content,
                *_headers(got, "Content-Type", "Content-Disposition", "X-Content-Type-Options"),
            ],
        )
    world.send("list", "GET", _ROOT, params={"path": base[1:]})
    world.send("list dir", "GET", _ROOT, params={"path": f"{base[1:]}/dir"})
    world.send("list missing", "GET", _ROOT, params={"path": f"{base[1:]}/missing"})
    world.send("list by run", "GET", "/api/2.0/mlflow/artifacts/list", params={"run_id": run_id})
    world.send(
        "list by run, dir",
        "GET",
        "/ajax-api/2.0/mlflow/artifacts/list",
        params={"run_uuid": run_id, "path": "dir"},
    )
    world.send("list of unknown run", "GET", "/api/2.0/mlflow/artifacts/list", params={"run_id": "0" * 32})
    world.send("list of no run", "GET", "/api/2.0/mlflow/artifacts/list")
    world.send("missing", "GET", f"{_ROOT}{base}/missing")
    world.see("directory", requests.get(f"{world.url}{_ROOT}{base}/dir", timeout=30).status_code)
    for path in (
        "../x",
        "%2e%2e/x",
        "a/../../x",
        "%252e%252e/x",
        "a%23b",
    ):
        for method in ("GET", "PUT", "DELETE"):
            answer = requests.Request(method, world.url).prepare()
            answer.url = f"{world.url}{_ROOT}{base}/{path}"
            found = requests.Session().send(answer, timeout=30)
            world.see(f"{method} {path}", found.status_code)
        world.send(f"list {path}", "GET", _ROOT, params={"path": path})
    part = requests.get(
        f"{world.url}/get-artifact", params={"path": "dir/data.json", "run_uuid": run_id}, timeout=30
    )
    world.see("get-artifact", [part.status_code, part.content, *_headers(part, "Content-Disposition")])
    ranged = requests.get(
        f"{world.url}/get-artifact",
        params={"path": "dir/data.json", "run_id": run_id},
        headers={"Range": "bytes=1-3"},
        timeout=30,
    )
    world.see("range", [ranged.status_code, ranged.content])
    world.send("get-artifact missing", "GET", "/get-artifact", params={"path": "no", "run_id": run_id})
    upload = requests.post(
        f"{world.url}/ajax-api/2.0/mlflow/upload-artifact",
        params={"run_uuid": run_id, "path": "up/loaded.txt"},
        data=b"x",
        timeout=30,
    )
    world.see("upload", upload.status_code)
    for method, path in (("DELETE", "/dir"), ("DELETE", "/dir"), ("DELETE", "/page.html")):
        world.send(f"{method} {path}", method, f"{_ROOT}{base}{path}")
    world.see("left", sorted(entry[0] for entry in _tree(world, run_id)))


def _body(world: World, run_id: str, path: str) -> bytes:
    answer = requests.get(f"{world.url}/get-artifact", params={"path": path, "run_id": run_id}, timeout=30)
    return answer.content


def _headers(answer: requests.Response, *names: str) -> list[str | None]:
    return [answer.headers.get(name) for name in names]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder

"""The README's example: log a run, release what it made, read it back. Needs a running stack (`make up`)."""

import math

import runstream

runstream.init("localhost:5050")

with runstream.start_run(experiment="first-steps", run_name="cosine") as run:
    runstream.log_params({"learning_rate": 0.1, "epochs": 200})
    for step in range(200):
        runstream.log_metric("loss", math.exp(-step / 60) + 0.05 * math.cos(step), step=step)
    runstream.log_text("w0 = 0.1", "model/weights.txt")
    version = runstream.register_model("model", "cosine")

promoted = runstream.promote("cosine", version.version, alias="champion", reason="the first one")
print("promotion", promoted.promotion.sequence, "of", promoted.promotion.artifact_digest[:12])

client = runstream.Client()
history = client.metric_history(run.run_id, "loss")
print(run.run_id, len(history.values), "points, last", round(history.values[-1], 4))
print(
    [r.run_name for r in client.search_runs(["first-steps"], "metrics.loss < 0.1 AND params.epochs = '200'")]
)

"""`log_metric` as one training process sees it; prints one JSON line. Run as a process of its own."""

import json
import statistics
import sys
import time

import runstream

SAMPLE_EVERY = 64
"""One call in so many is timed by itself; timing each would cost as much as the call."""


def main(url: str, calls: int) -> None:
    """Log `calls` points to a new run.

    Args:
        url: address of the stack.
        calls: calls of log_metric.
    """
    runstream.init(url)
    timed = []
    with runstream.start_run(experiment="log-metric", system_metrics=False) as run:
        started = time.perf_counter()
        for step in range(calls):
            if step % SAMPLE_EVERY:
                runstream.log_metric("loss", 1.0 / (step + 1), step=step)
                continue
            before = time.perf_counter()
            runstream.log_metric("loss", 1.0 / (step + 1), step=step)
            timed.append(time.perf_counter() - before)
        seconds = time.perf_counter() - started
        run_id = run.run_id
    stored = time.perf_counter() - started
    figures = {
        "run_id": run_id,
        "calls_per_second": calls / seconds,
        "median_call_us": statistics.median(timed) * 1e6,
        "stored_per_second": calls / stored,
    }
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

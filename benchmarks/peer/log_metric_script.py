"""A training process that only logs; runs in the peer's environment and prints one line of JSON.

Arguments: tracking URI, seconds, most calls, "synchronous" or "asynchronous".
"""

import json
import statistics
import sys
import time

import mlflow  # type: ignore[import-not-found]  # only in the peer's environment


def main(tracking_uri: str, seconds: float, max_calls: int, *, synchronous: bool) -> None:
    """Call `mlflow.log_metric` until a limit is met, wait until all is stored, print the figures."""
    mlflow.set_tracking_uri(tracking_uri)
    latencies: list[float] = []
    with mlflow.start_run():
        mlflow.log_metric("warm-up", 0.0)
        started = time.perf_counter()
        deadline = started + seconds
        while time.perf_counter() < deadline and len(latencies) < max_calls:
            before = time.perf_counter()
            mlflow.log_metric("loss", 0.5, step=len(latencies), synchronous=synchronous)
            latencies.append(time.perf_counter() - before)
        called = time.perf_counter() - started
        if not synchronous:
            mlflow.flush_async_logging()
        stored = time.perf_counter() - started
    print(
        json.dumps(
            {
                "calls_per_second": len(latencies) / called,
                "stored_per_second": len(latencies) / stored,
                "median_call_us": statistics.median(latencies) * 1e6,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), synchronous=sys.argv[4] == "synchronous")

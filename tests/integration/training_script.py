"""A training job as the outage test runs it: logs point after point until its standard input is closed.

Arguments: address, run id, spool directory. Prints how many points it logged, and in the end what became of them.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import runstream

POINTS_PER_ROUND = 50
ROUND_SECONDS = 0.01


def main() -> None:
    """Log until told to stop."""
    address, run_id, spool_dir = sys.argv[1:]
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    runstream.init(address, spool_dir=spool_dir, system_metrics=False, capture=False)
    step = 0
    with runstream.start_run(run_id=run_id) as run:
        while not stop.is_set():
            for step in range(step, step + POINTS_PER_ROUND):  # noqa: B020 - goes on where it was
                run.log_metric("loss", step * 0.5, step)
            step += 1
            tell({"logged": step})
            time.sleep(ROUND_SECONDS)
        # One flush is content with the spool when the server does not answer at once.
        while not run.flush().complete:
            tell({"logged": step})
    result = run.end()
    lost = result.dropped_points + result.rejected_points + result.lost_records
    tell({"logged": step, "outcome": {"acknowledged": result.acknowledged_points, "lost": lost}})


def tell(message: dict[str, object]) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

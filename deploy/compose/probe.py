"""Asks this container's admin server, for health checks in an image without curl: `python probe.py healthz|readyz`."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 4


def main() -> int:
    """Return 0 for a 200 answer; otherwise 1, with the answer on standard output, where `docker inspect` shows it."""
    port = os.environ.get("RUNSTREAM_ADMIN_PORT", "5060")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{sys.argv[1]}", timeout=TIMEOUT_SECONDS):
            return 0
    except urllib.error.HTTPError as error:
        sys.stdout.write(error.read().decode(errors="replace"))
    except OSError as error:
        sys.stdout.write(str(error))
    return 1


if __name__ == "__main__":
    raise SystemExit(main())

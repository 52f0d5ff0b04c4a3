"""Makes the fixtures of tests/support available to the tests of every package."""

import os

# Tests that use gRPC start programs too (psql, postgres). With its fork handlers on, gRPC crashes some of those children;
# it reads this once, when it is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

pytest_plugins = ["tests.support.fixtures"]

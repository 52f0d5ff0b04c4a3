"""What gRPC reads from the environment when it is imported; imported before anything else of the package."""

import os

# gRPC's own fork handlers hang or abort children of a process with running calls, and write to stderr. Forked children
# do not need them: they log through the spool (see session.py).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Keeps lines such as "Got goaway" out of the training output.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

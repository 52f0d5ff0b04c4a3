"""One-machine topology: PostgreSQL and every service as supervised child processes."""

"""Logging from training code: buffered, streamed, spooled while the server is away."""

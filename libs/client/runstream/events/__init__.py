"""Consume the platform's events under a durable group."""

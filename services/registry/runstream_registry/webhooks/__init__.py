"""Webhooks: who is called for which change, and the signed calls with their retries and their log."""

"""The registry half of the SDK: models, versions, promotions, prompts and webhooks."""

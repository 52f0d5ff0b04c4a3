"""Moving whole deployments: from MLflow to Runstream, and back.

A `source` reads MLflow's entities, a `target` writes them, the `Migration` carries them over one by one and notes in a
`journal` what is done, and `verification` compares in the end. The source is always MLflow's own client: it reads tracking
servers, databases, and Runstream's gateway.
"""

"""The bus: publish, subscribe, dead letters and outbox over Kafka or a PostgreSQL table."""

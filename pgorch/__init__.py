"""pgorch: a durable agent orchestrator that lives in Postgres."""

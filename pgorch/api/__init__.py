"""The HTTP API: a Starlette application that holds no state: several processes may serve one database."""

"""The only part of pgorch that talks to the database."""

"""Other durable engines, measured beside pgorch: `python -m tests.bench.peers`."""

"""`pgorch bench`: measures a database as a place for durable steps."""

"""Webhooks out: signing, and sending a message to an address that may be sent to."""

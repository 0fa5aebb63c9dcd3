"""What a test of a fault says: what was done, and what shows that it really happened."""

from typing import Any


def injected(fault: str, proof: Any) -> None:
    """Prints both. Without proof the fault did not happen, and the test says nothing about it."""
    print(f"injected: {fault}; seen: {proof}")
    assert proof, f"the fault did not happen: {fault}"

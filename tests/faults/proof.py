"""What a test of a fault says: what was done, and what shows that it really happened."""

from typing import Any


def injected(fault: str, proof: Any, told: str = "") -> None:
    """Prints what was done, and `told` or else the proof. Without proof the fault did not happen, and the
    test says nothing about it."""
    print(f"injected: {fault}; seen: {told or proof}")
    assert not isinstance(proof, str), f"a sentence is always true; what does it say of {fault}?"
    assert proof, f"the fault did not happen: {fault}"

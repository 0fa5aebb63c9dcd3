"""What is no proof is not taken for one."""

import pytest

from tests.faults.proof import injected


@pytest.mark.parametrize("proof", [0, "", "no process died", [], False, None])
def test_what_can_be_false_and_is_or_cannot_be_is_no_proof(proof: object) -> None:
    with pytest.raises(AssertionError):
        injected("a fault", proof, "it was seen")


def test_what_was_seen_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    injected("a fault", 3, "3 times")
    assert capsys.readouterr().out == "injected: a fault; seen: 3 times\n"

"""The callers themselves: what they take for an answer, and that they come to an end."""

import pytest

from tests.outages import calls
from tests.outages.calls import Callers
from tests.outages.ground import Api
from tests.support.receiver import receiving


def test_an_answer_that_is_no_json_says_nothing_and_its_key_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "_GIVE_UP_SECONDS", 0.3)
    with receiving() as other:
        other.status = 200
        callers = Callers([Api(other.port)], "any", clients=2, most=3).start()
        callers.join(20)
    assert not callers.under_way
    assert {call.status for call in callers.calls} == {0}
    assert sorted(callers.given_up) == ["call-0", "call-1", "call-2"]

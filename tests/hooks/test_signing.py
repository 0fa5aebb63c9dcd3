"""Signatures are those of the Standard Webhooks specification: its own library takes them, and no others."""

import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from pgorch.hooks.signing import signed_headers
from tests.support.receiver import OTHER_SECRET, SECRET

BODY = '{"type": "run_completed", "data": {"name": "Zoë"}}'.encode()


def test_the_example_of_the_specification_gives_its_signature() -> None:
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [SECRET])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_it_is_verified_with_the_secret_and_with_no_other() -> None:
    headers = signed_headers("msg_1", int(time.time()), BODY, [SECRET])
    assert Webhook(SECRET).verify(BODY, headers)["data"] == {"name": "Zoë"}
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(BODY, headers)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_whatever_was_changed_on_the_way_the_signature_does_not_fit(changed: str) -> None:
    headers = signed_headers("msg_1", int(time.time()), BODY, [SECRET])
    body = BODY
    if changed == "body":
        body = BODY.replace(b"Zo", b"Jo")
    elif changed == "webhook-timestamp":
        headers[changed] = str(int(headers[changed]) - 1)
    else:
        headers[changed] += "x"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers)


def test_with_two_secrets_whoever_knows_one_of_them_is_content() -> None:
    headers = signed_headers("msg_1", int(time.time()), BODY, [SECRET, OTHER_SECRET])
    assert Webhook(SECRET).verify(BODY, headers) == Webhook(OTHER_SECRET).verify(BODY, headers)

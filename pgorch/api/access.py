"""Who may do what: the roles, what each route asks for, and the caller of a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from starlette.authentication import BaseUser
from starlette.requests import Request


class Permission(Enum):
    """What a route asks of its caller. The value says it in a sentence: "this needs ..."."""

    PUBLIC = "nothing"
    READ = "the right to read"
    SEE_APPROVALS = "the right to see approvals"
    OPERATE = "the right to start and steer runs"
    SEE_AUDIT = "the right to see the audit"
    HANDLE_APPROVALS = "the right to pass approvals on and to comment them"
    DECIDE = "the right to decide"
    ADMINISTER = "the right to change graphs and settings"


# The roles of which one is enough, the least one first. A key may have further roles, to which approvals are
# assigned; they open no route.
ROLES: Final[Mapping[Permission, tuple[str, ...]]] = {
    Permission.PUBLIC: (),
    Permission.READ: ("viewer", "operator", "admin"),
    Permission.SEE_APPROVALS: ("viewer", "approver", "operator", "admin"),
    Permission.OPERATE: ("operator", "admin"),
    Permission.SEE_AUDIT: ("operator", "admin"),
    Permission.HANDLE_APPROVALS: ("approver", "operator", "admin"),
    Permission.DECIDE: ("approver", "admin"),
    Permission.ADMINISTER: ("admin",),
}


@dataclass(frozen=True)
class Caller(BaseUser):
    """Who makes a request: what SQL is given as p_actor and p_roles.

    Both are None where no keys are asked for: then SQL takes the user of the database session, who may do
    everything that the database lets him.
    """

    actor: str | None
    roles: tuple[str, ...] | None

    def may(self, permission: Permission) -> bool:
        return self.roles is None or any(role in ROLES[permission] for role in self.roles)

    @property
    def is_authenticated(self) -> bool:
        return self.actor is not None

    @property
    def display_name(self) -> str:
        return self.actor or ""

    @property
    def identity(self) -> str:
        return self.actor or ""


NOBODY: Final = Caller(None, None)


def caller_of(request: Request) -> Caller:
    """The one place from which handlers know who asks. Only routes that are not public have a caller."""
    caller = request.scope["user"]
    assert isinstance(caller, Caller)
    return caller

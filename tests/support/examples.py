"""Graphs of the documents that more than one test plays."""

from typing import Any

WIRE_TRANSFER: dict[str, Any] = {
    "name": "wire_transfer",
    "nodes": [
        {"id": "draft", "function": "draft_transfer"},
        {
            "id": "sign_off",
            "type": "approval",
            "title": "Release ${$.amount} to ${$.payee}",
            "show": {"amount": "${$.amount}", "payee": "${$.payee}"},
            "form": {
                "type": "object",
                "properties": {"amount": {"type": "number", "maximum": 50000}, "note": {"type": "string"}},
                "required": ["note"],
            },
            "assignees": ["role:finance"],
            "quorum": 2,
            "exclude_initiator": True,
            "deadline": "48 hours",
            "remind": {"after": "24 hours", "to": ["role:cfo"]},
        },
        {"id": "send", "function": "send_wire"},
        {"id": "revise", "function": "revise_transfer"},
        {"id": "expire", "function": "cancel_transfer"},
    ],
    "edges": [
        {"source": "draft", "target": "sign_off"},
        {"source": "sign_off", "target": "send", "on": "approved"},
        {
            "source": "sign_off",
            "target": "revise",
            "on": "rejected",
            "condition": "$decision.retry == true",
            "limit": 2,
        },
        {"source": "sign_off", "target": "expire", "on": "rejected"},
        {"source": "sign_off", "target": "expire", "on": "expired"},
        {"source": "revise", "target": "sign_off"},
    ],
    "start_node": "draft",
}

"""The description of the API as a page for people: made here, without a script, so that it works offline."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

import orjson

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow:auto;background:#8881;padding:.5rem}"
    "summary{cursor:pointer;padding:.2rem 0}td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
    ":root{color-scheme:light dark}"
)
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing but the page itself, and nothing in it that runs.
HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none';"
    " base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def page(document: Mapping[str, Any]) -> str:
    """An OpenAPI document as HTML: operations by tag, then the schemas to which they refer."""
    return "\n".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f"<title>{_text(info['title'])} API</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{_text(info['title'])} {_text(info['version'])}</h1><p>{_text(info['summary'])}"
    yield 'For programs: <a href="openapi.json">openapi.json</a>.</p>'
    by_tag: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    for tag, operations in by_tag.items():
        yield f"<h2>{_text(tag)}</h2>"
        yield from operations
    yield "<h2>schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{_text(name)}"><summary><code>{_text(name)}</code></summary>'
        yield f"{_json(schema)}</details>"
    yield "</body></html>"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f"<details><summary><code>{_text(method.upper())} {_text(path)}</code>"
        f" {_text(operation['summary'])}</summary>"
    ]
    roles = sorted({role for need in operation["security"] for names in need.values() for role in names})
    parts.append(f"<p>Roles: {_text(', '.join(roles) or 'none is needed')}.</p>")
    parameters = operation.get("parameters", [])
    if parameters:
        rows = (
            f"<tr><td><code>{_text(p['name'])}</code></td><td>{_text(p['in'])}</td>"
            f"<td>{_text(p['description'])}</td></tr>"
            for p in parameters
        )
        parts.append(f"<table>{''.join(rows)}</table>")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, {_text(media_type)}:</p>{_json(content['schema'])}")
    for status, answer in operation["responses"].items():
        parts.append(f"<p><code>{_text(status)}</code> {_text(answer['description'])}</p>")
        if status < "300":
            parts += [_json(content["schema"]) for content in answer.get("content", {}).values()]
    return "\n".join([*parts, "</details>"])


def _json(schema: Any) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return f'<p><a href="#{_text(name)}"><code>{_text(name)}</code></a></p>'
    return f"<pre>{_text(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())}</pre>"


def _text(value: Any) -> str:
    return escape(str(value))

"""OpenAPI 3.1, written from the route table."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

import pgorch
from pgorch.api.access import ROLES, Permission
from pgorch.api.answers import ProblemDetails
from pgorch.api.endpoint import Endpoint
from pgorch.api.parameters import Parameter
from pgorch.api.problems import KINDS, MEDIA_TYPE

_REFERENCE: Final = "#/components/schemas/{model}"
_SCHEME: Final = "key"
_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "pgo_<id>_<secret>",
    "description": "A key, made with `pgorch keys create NAME --role ROLE`. Each operation names the roles of"
    " which it needs one. A server that was started without keys (`pgorch dev`) asks for none.",
}
_SSE: Final = "text/event-stream"
_BODY_PROBLEMS: Final = (
    "not-json",
    "request-timeout",
    "too-large",
    "unsupported-media-type",
    "invalid-value",
)

_HEADERS: Final[dict[int, Any]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": {"schema": {"type": "integer"}}},
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of these endpoints."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pgorch",
            "version": pgorch.__version__,
            "summary": "A durable agent orchestrator that lives in Postgres.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {_SCHEME: _KEY},
        },
    }


def problem_kinds(endpoint: Endpoint) -> list[str]:
    """Every kind of problem that the endpoint may answer with."""
    kinds = ["bad-request", "misdirected", "internal-error", *endpoint.problems]
    if endpoint.permission is not Permission.PUBLIC:
        # Who asks is looked up in the database.
        kinds += ["unauthenticated", "missing-role", "database-unavailable", "schema-mismatch"]
    if endpoint.method != "GET":
        kinds.append("not-allowed")
    if endpoint.body is not None:
        kinds += _BODY_PROBLEMS
    if any(parameter.place != "path" for parameter in endpoint.parameters):
        kinds.append("invalid-value")
    if endpoint.needs_database:
        kinds += ["database-unavailable", "schema-mismatch"]
    return list(dict.fromkeys(kinds))


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "security": [{_SCHEME: [role]} for role in ROLES[endpoint.permission]],
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in endpoint.parameters]
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.body_required,
            "content": {"application/json": {"schema": _schema(endpoint.body, schemas)}},
        }
    return operation


def _responses(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    answer = _schema(endpoint.answer, schemas)
    responses: dict[int, Any] = {
        endpoint.success: {
            "description": endpoint.summary,
            "content": {
                media_type: {"schema": _server_sent(answer) if media_type == _SSE else answer}
                for media_type in endpoint.media_types
            },
        },
    }
    for status, description in endpoint.other_statuses.items():
        responses[status] = {"description": description}
    problem = _schema(ProblemDetails, schemas)
    titles: dict[int, list[str]] = {}
    for kind in problem_kinds(endpoint):
        status, title = KINDS[kind]
        titles.setdefault(status, []).append(title)
    for status, texts in titles.items():
        responses[status] = {
            "description": "; ".join(texts) or HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": problem}},
        }
        if status in _HEADERS:
            responses[status]["headers"] = _HEADERS[status]
    return {str(status): responses[status] for status in sorted(responses)}


def _server_sent(data: dict[str, Any]) -> dict[str, Any]:
    """A server-sent event: its fields, as OpenAPI 3.2 describes them, with JSON as its data."""
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {
        "type": "object",
        "required": ["data"],
        "properties": {"id": {"type": "string", "description": "For Last-Event-ID."}, "data": text},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.place == "path",
        "schema": dict(parameter.schema),
    }


def _schema(shape: type[BaseModel] | Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to the model's schema, which is put among the components with those that it needs."""
    if not isinstance(shape, type):
        return dict(shape)
    if shape.__name__ not in schemas:
        schema = shape.model_json_schema(ref_template=_REFERENCE)
        schemas.update(schema.pop("$defs", {}))
        schemas[shape.__name__] = schema
    return {"$ref": _REFERENCE.format(model=shape.__name__)}


def _operation_id(endpoint: Endpoint) -> str:
    words = [part.strip("{}") for part in endpoint.path.split("/") if part]
    return "_".join([endpoint.method.lower(), *words])

"""What /openapi.json says: the routes, with schemas and examples that are made from a result of the model at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.serve.refusals import STATUS

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lamina.serve.service import Service

PATHS = ("/predict", "/explain", "/model", "/health", "/ready", "/metrics", "/openapi.json", "/")

_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string", "enum": list(STATUS)}, "message": _TEXT},
        }
    },
    "example": {"error": {"code": "too_many_pixels", "message": "What came. What was expected. What to do."}},
}
_BINARY = {"type": "string", "format": "binary"}
_PICTURES = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": _BINARY}},
                "description": "Files, one or many; the names of the fields do not matter.",
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {
                    "images": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "string",
                            "description": "Base64 of a picture file, with or without data:...;base64,",
                        },
                    }
                },
            },
            "example": {"images": ["iVBORw0KGgo..."]},
        },
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
    },
}
_DRAW = {
    "name": "draw",
    "in": "query",
    "schema": {"type": "boolean", "default": False},
    "description": "Whether each result brings its drawn picture: a PNG as base64 in `drawn`.",
}
_LABEL = {
    "name": "label",
    "in": "query",
    "schema": _TEXT,
    "description": "The class that is explained, by its name. The most probable one, if it is left out.",
}
_STATUS_EXAMPLE = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": _TEXT},
    "example": {"status": "ready"},
}


def version() -> str:
    """The version of the library, which is that of the API."""
    from lamina import __version__

    return __version__


def routes() -> dict[str, dict[str, Any]]:
    """What each route's decorator is told."""
    told = {
        "predict": (
            "The model's answers to pictures",
            "200 as soon as one picture could be answered; each other has its error in its place. Where none could, the status "
            "is that of the first error. One picture alone is sent fastest as the body itself, with its own content type.",
        ),
        "explain": (
            "Where in a picture an answer comes from",
            "Grad-CAM: rows of 0..1 over `box_xyxy` of the picture.",
        ),
        "health": ("Whether the process lives", "Needs no token."),
        "ready": ("Whether the model answers now", "503 while it starts and while it stops. Needs no token."),
        "model": ("What the model is", "Classes, preprocessing, figures, engine, limits, versions."),
        "metrics": ("Figures for Prometheus", "Counters and histograms; of several workers the sums."),
    }
    return {
        name: {"summary": title, "description": text, "operation_id": name, "response_model": None}
        for name, (title, text) in told.items()
    }


def openapi(made: FastAPI, service: Service) -> dict[str, Any]:
    """The description of the API: OpenAPI 3.1."""
    from fastapi.openapi.utils import get_openapi

    told: dict[str, Any] = get_openapi(
        title=made.title,
        version=made.version,
        description="Pictures in, answers out. All errors have one shape, with a code.",
        routes=made.routes,
    )
    result = {**schema_of(service.example), "example": service.example}
    result["properties"] = {**result.get("properties", {}), "drawn": {"type": "string", "format": "byte"}}
    answer = {
        "type": "object",
        "required": ["results", "model", "took_ms"],
        "properties": {
            "results": {"type": "array", "items": {"anyOf": [_ref("Result"), _ref("Error")]}},
            "model": _TEXT,
            "took_ms": {"type": "number"},
        },
        "example": {"results": [service.example], "model": service.name, "took_ms": 12.3},
    }
    heat = {
        "type": "object",
        "required": ["map", "box_xyxy", "label", "answer"],
        "properties": {
            "map": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}},
            },
            "box_xyxy": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
            "label": _TEXT,
            "answer": {"type": "number"},
            "layer": _TEXT,
            "drawn": {"type": "string", "format": "byte"},
            "model": _TEXT,
            "took_ms": {"type": "number"},
        },
    }
    schemas = {"Result": result, "Answer": answer, "Error": _ERROR, "Heat": heat}
    card = service.card()
    schemas["Model"] = {**schema_of(card), "example": card}
    told.setdefault("components", {})["schemas"] = schemas
    if service.has_token:
        told["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        told["security"] = [{"token": []}]
    refusing = (400, 401, 408, 413, 415, 422, 500, 503, 504)
    _describe(told, "/predict", "post", _ref("Answer"), refusing, parameters=[_DRAW], requestBody=_PICTURES)
    _describe(told, "/explain", "post", _ref("Heat"), refusing, parameters=[_LABEL, _DRAW], requestBody=_PICTURES)
    _describe(told, "/model", "get", _ref("Model"), (401,))
    _describe(told, "/health", "get", _STATUS_EXAMPLE, (), security=[])
    _describe(told, "/ready", "get", _STATUS_EXAMPLE, (503,), security=[])
    told["paths"]["/metrics"]["get"]["responses"] = {"200": _content(_TEXT, "Prometheus's text", kind="text/plain")}
    return told


def schema_of(value: Any, *, inner: bool = False) -> dict[str, Any]:
    """The JSON schema of what a value is an example of. An `inner` object of numbers alone has other names in another picture."""
    if isinstance(value, dict):
        fields = {str(key): schema_of(entry, inner=True) for key, entry in value.items()}
        if inner and all(isinstance(entry, int | float) for entry in value.values()):
            return {"type": "object", "additionalProperties": {"type": "number"}}
        return {"type": "object", "properties": fields, "required": list(fields)}
    if isinstance(value, list | tuple):
        kinds: list[dict[str, Any]] = []
        for entry in value:
            kind = schema_of(entry, inner=True)
            if kind not in kinds:
                kinds.append(kind)
        return {"type": "array", **({"items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds}} if kinds else {})}
    if value is None:
        return {}
    named = ((bool, "boolean"), (int, "integer"), (float, "number"))
    return {"type": next((name for kind, name in named if isinstance(value, kind)), "string")}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _describe(
    told: dict[str, Any], path: str, method: str, schema: dict[str, Any], refusing: tuple[int, ...], **more: Any
) -> None:
    answers = {"200": _content(schema, "The answer")}
    for status in refusing:
        codes = ", ".join(code for code, its in STATUS.items() if its == status)
        answers[str(status)] = _content(_ref("Error"), f"Codes: {codes}")
    told["paths"][path][method].update({"responses": answers, **more})


def _content(schema: dict[str, Any], text: str, *, kind: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}

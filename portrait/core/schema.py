"""What the OpenAPI document says of every call alike: how errors look."""

from typing import Any

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "Stable and machine-readable, `no_face` for example"},
                "message": {"type": "string", "description": "What is wrong and what to do"},
                "field": {"type": "string", "description": "Which part of the request, where one is to blame"},
            },
        }
    },
}
MEANINGS = {
    "4XX": "The request cannot be done as it is: `code` says why. 429: wait as `Retry-After` says.",
    "5XX": "Something does not answer. 503 and 504: try again, as `Retry-After` says.",
}


def _empty(form: dict[str, Any]) -> None:
    for name, field in form["properties"].items():
        if name not in form.get("required", []) and field.get("type") == "string" and field.get("format") != "binary":
            field["example"] = ""


def describe_alike(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's hook: error answers for every operation, a summary out of the first line of its description,
    and forms that come up empty instead of filled with examples that mean something."""
    for name, schema in result["components"]["schemas"].items():
        if name.endswith("FormRequest"):
            _empty(schema)
    result["components"].setdefault("schemas", {})["Error"] = ERROR
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, operations in result["paths"].items():
        if path.startswith("/api/v1/"):
            for operation in operations.values():
                operation.setdefault("summary", operation.get("description", "").partition("\n")[0].rstrip("."))
                for status, meaning in MEANINGS.items():
                    operation["responses"].setdefault(status, {"description": meaning, "content": content})
    return result

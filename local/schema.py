"""The JSON Schema of `layer.toml`, for editors: made from the same models that read the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lamina.definition import ENVIRONMENT_NAME
from lamina.tables import Tables

PATH = Path(__file__).parents[1] / "docs" / "layer.schema.json"

_SOURCES = ("python", "nodejs", "files")


def text() -> str:
    """The schema as it is kept in the repository."""
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """The schema (JSON Schema, draft 2020-12)."""
    made = _plain(Tables.model_json_schema(by_alias=True))
    made["properties"]["environments"] |= {
        "description": "`[environments.<name>]`: variants with further requirements.",
        "propertyNames": {"pattern": f"^{ENVIRONMENT_NAME}$"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "layer.toml",
        "anyOf": [{"required": [source]} for source in _SOURCES],
    }


def _plain(value: Any) -> Any:
    """Without what says nothing to a person who edits a file: generated titles, whole tables as defaults, nulls."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {
        key: {name: _plain(one) for name, one in item.items()} if key in ("properties", "$defs") else _plain(item)
        for key, item in value.items()
        if not (key == "title" and isinstance(item, str))
        and not (key == "default" and (item is None or isinstance(item, dict)))
    }
    choices = [choice for choice in made.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1 and len(made["anyOf"]) == 2:
        del made["anyOf"]
        # What is said at the key comes before what is said of the table as a whole.
        made = {**choices[0], **made}
    said = made.get("description")
    if isinstance(said, str):
        made["description"] = re.sub(r"\s+", " ", said)
    return made

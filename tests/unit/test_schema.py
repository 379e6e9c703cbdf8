"""The JSON Schema of layer.toml: it is current, and an editor with it says what Lamina says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lamina.tables import parse_tables
from local import schema
from tests.unit.malformed import MALFORMED, NODE, WHOLE, Mistake

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("layers/*/layer.toml"), *ROOT.glob("scenarios/*/layers/*/layer.toml")])
VALIDATOR = Draft202012Validator(schema.schema())


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_shipped_schema_is_current() -> None:
    assert schema.PATH.read_text() == schema.text(), "run: make schema"
    Draft202012Validator.check_schema(json.loads(schema.text()))


def test_every_key_is_described_and_nothing_is_null() -> None:
    made = schema.schema()
    tables = [*made["$defs"].values()]

    for table in tables:
        assert table["description"]
        assert table["additionalProperties"] is False
        for key, said in table["properties"].items():
            assert said["description"].endswith("."), key
            assert "_" not in key
    assert "null" not in schema.text()
    assert "ARN" in made["$defs"]["IndexTable"]["properties"]["secret"]["description"]


@pytest.mark.parametrize("path", SHIPPED, ids=short)
def test_what_is_shipped_names_the_schema_and_fits_it(path: Path) -> None:
    text = path.read_text()
    first = text.splitlines()[0]

    assert first.startswith("#:schema ")
    assert (path.parent / first.removeprefix("#:schema ")).resolve() == schema.PATH
    VALIDATOR.validate(tomllib.loads(text))


@pytest.mark.parametrize("mistake", [one for one in MALFORMED if one.name not in ("not TOML", "date")],
                         ids=lambda mistake: mistake.name)  # fmt: skip
def test_an_editor_sees_what_a_schema_can_say(mistake: Mistake) -> None:
    data = tomllib.loads(mistake.toml)

    assert VALIDATOR.is_valid(data) is not mistake.editor


@given(
    st.dictionaries(
        st.sampled_from(["allow", "cooldown-days", "security", "ignore", "alow"]),
        st.sampled_from(["patch", "major", "immediate", "x"]) | st.integers(-2, 4000) | st.booleans()
        | st.lists(st.sampled_from(["six", "", "idna"]), max_size=3),
        max_size=3,
    )
)  # fmt: skip
def test_a_table_that_lamina_takes_fits_the_schema_and_the_other_way_round(update: dict[str, Any]) -> None:
    data = tomllib.loads(WHOLE) | {"update": update}
    toml = WHOLE + "[update]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in update.items())
    try:
        parse_tables(toml.encode())
        taken = True
    except ValueError:
        taken = False

    assert VALIDATOR.is_valid(data) is taken


def test_a_definition_in_node_js_fits_the_schema() -> None:
    VALIDATOR.validate(tomllib.loads(NODE + "registry = {url = 'https://npm.example.com/', scopes = ['@acme']}\n"))

"""JSON out of what models write around it, and what is said to them to get it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent.errors import ModelBroken
from agent.models.structured import instruction, parsed, response_format

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["question", "other"]}, "words": {"type": "array", "items": {"type": "string"}}},
    "required": ["kind"],
    "additionalProperties": False,
}
FITS = {"kind": "question", "words": ["a {brace}", "```"]}
WRITTEN = json.dumps(FITS)


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN,
        f"\n\n  {WRITTEN}  \n",
        json.dumps(FITS, indent=4),
        '```json\n{"kind": "question", "words": ["a {brace}", "```"]}\n```',
        f"```\n{WRITTEN}\n```\nI hope this helps!",
        f"Sure! {WRITTEN}",
        f"{WRITTEN}\n\nThe kind is question because {{it asks}}.",
        f"{{it}} is {{}} so: {WRITTEN}",
        f'An example would be {{"kind": "none"}}. Mine: {WRITTEN}',
        f'The schema {{"type": "object"}} asks for {WRITTEN}',
        f"{WRITTEN} {WRITTEN}",
        f"{WRITTEN}}}",
    ],
)
def test_the_object_is_found_in_what_stands_around_it(text: str) -> None:
    assert parsed(text, SCHEMA) == FITS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "something else"),
        ("I cannot do that.", "something else"),
        ("null", "something else"),
        ("[]", "something else"),
        (f"[{WRITTEN[:-1]}", "something else"),
        ('"text"', "something else"),
        ("{'kind': 'question'}", "something else"),
        ('{"kind": NaN}', "something else"),
        ("{" * 100_000, "something else"),
        ('{"a":' * 20_000, "something else"),
        ("[" * 100_000, "something else"),
        ("{}", "'kind' is a required property"),
        ('{"kind": "x"}', "kind: 'x' is not one of"),
        ('{"kind": "other", "words": ["a", 5]}', "words.1: 5 is not of type 'string'"),
        ('{"kind": "other", "more": 1}', "'more' was unexpected"),
        ('{"result": {"kind": "other"}}', "does not fit"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_why(text: str, says: str) -> None:
    with pytest.raises(ModelBroken) as caught:
        parsed(text, SCHEMA)
    assert says in caught.value.message
    assert len(caught.value.message) < 400


def test_a_value_that_is_long_is_not_told_in_full() -> None:
    with pytest.raises(ModelBroken) as caught:
        parsed(json.dumps({"kind": "x" * 10_000}), SCHEMA)
    assert len(caught.value.message) < 400


@settings(deadline=None)
@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_an_object_that_fits_or_an_error(text: str) -> None:
    try:
        found = parsed(text, SCHEMA)
    except ModelBroken:
        return
    Draft202012Validator(SCHEMA).validate(found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), json_values), st.text("abc .\n"), st.text("abc .\n"))
def test_any_object_comes_out_as_it_went_in(value: dict[str, Any], before: str, after: str) -> None:
    assert parsed(f"{before}{json.dumps(value)}{after}", {"type": "object"}) == value


def test_what_a_model_is_told() -> None:
    bare, whole = instruction(SCHEMA, with_schema=False), instruction(SCHEMA, with_schema=True)
    assert "JSON" in bare
    assert "JSON" in whole
    assert json.loads(whole[whole.index("{") :]) == SCHEMA
    assert "{" not in bare
    umlaut = {"type": "object", "description": "für Gäste"}
    assert "für Gäste" in instruction(umlaut, with_schema=True), "it costs more tokens escaped"


def test_what_a_request_says() -> None:
    wanted = response_format(SCHEMA, "json_schema")
    assert wanted == {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}}
    assert response_format(SCHEMA, "json_object") == {"type": "json_object"}
    assert response_format(SCHEMA, "prompt") is None

"""Modals: what Discord takes as one, and what it sends when a person submits it. Pure."""

from __future__ import annotations

from typing import Any

from tests.servers.discord.checks import Form, walk
from tests.servers.discord.state import Json

_ROW, _TEXT_INPUT, _SELECT, _TEXT, _LABEL = 1, 4, 3, 10, 18
_ENTITY_SELECTS, _FILES, _RADIO, _CHECKBOXES, _CHECKBOX = {5, 6, 7, 8}, 19, 21, 22, 23
_IN_LABEL = {_TEXT_INPUT, _SELECT, *_ENTITY_SELECTS, _FILES, _RADIO, _CHECKBOXES, _CHECKBOX}
MOST_INPUT = 4000


def check_modal(modal: Any) -> None:
    """Raise 50035 for what may not be a modal."""
    form = Form()
    if not isinstance(modal, dict):
        form.wrong(("data",), "BASE_TYPE_REQUIRED", "This field is required")
        form.check()
    form.text(modal.get("custom_id", ""), ("data", "custom_id"), 100, 1)
    form.text(modal.get("title", ""), ("data", "title"), 45, 1)
    for index, item in enumerate(form.items(modal.get("components"), ("data", "components"), 5, 1)):
        _top(form, item, ("data", "components", index))
    names = [field["custom_id"] for field in fields_of(modal) if field.get("custom_id")]
    for name in {name for name in names if names.count(name) > 1}:
        form.wrong(("data", "components"), "COMPONENT_CUSTOM_ID_DUPLICATED", f"custom_id cannot be duplicated: {name}")
    form.check()


def fields_of(modal: Json) -> list[Json]:
    """What can be filled in, in order."""
    inner = [item.get("component") for item in walk(modal.get("components"))]
    found = [item for item in [*walk(modal.get("components")), *walk(inner)] if item.get("type") in _IN_LABEL]
    return list({id(item): item for item in found}.values())


def _top(form: Form, item: Json, where: tuple[str | int, ...]) -> None:
    kind = item.get("type")
    form.choice(kind, (*where, "type"), {_ROW, _TEXT, _LABEL})
    if kind == _ROW:
        for index, field in enumerate(form.items(item.get("components"), (*where, "components"), 1, 1)):
            at = (*where, "components", index)
            form.choice(field.get("type"), (*at, "type"), {_TEXT_INPUT})
            form.text(field.get("label", ""), (*at, "label"), 45, 1)
            _text_input(form, field, at)
    elif kind == _LABEL:
        form.text(item.get("label", ""), (*where, "label"), 45, 1)
        if item.get("description") is not None:
            form.text(item["description"], (*where, "description"), 100)
        _labelled(form, item.get("component"), (*where, "component"))
    elif kind == _TEXT:
        form.text(item.get("content", ""), (*where, "content"), 4000, 1)


def _labelled(form: Form, field: Any, where: tuple[str | int, ...]) -> None:
    if not isinstance(field, dict):
        form.wrong(where, "BASE_TYPE_REQUIRED", "This field is required")
        return
    form.choice(field.get("type"), (*where, "type"), _IN_LABEL)
    if field.get("type") == _TEXT_INPUT:
        if field.get("label") is not None:
            form.wrong((*where, "label"), "COMPONENT_LABEL_NOT_ALLOWED", "A text input in a label has no label.")
        _text_input(form, field, where)
        return
    form.text(field.get("custom_id", ""), (*where, "custom_id"), 100, 1)
    if field.get("placeholder") is not None:
        form.text(field["placeholder"], (*where, "placeholder"), 150)
    if field.get("type") in {_SELECT, _RADIO, _CHECKBOXES}:
        most = 25 if field["type"] == _SELECT else 10
        for index, option in enumerate(form.items(field.get("options"), (*where, "options"), most, 1)):
            for name in ("label", "value"):
                form.text(option.get(name), (*where, "options", index, name), 100, 1)


def _text_input(form: Form, field: Json, where: tuple[str | int, ...]) -> None:
    form.text(field.get("custom_id", ""), (*where, "custom_id"), 100, 1)
    form.choice(field.get("style"), (*where, "style"), {1, 2})
    for name, least in (("min_length", 0), ("max_length", 1)):
        if field.get(name) is not None:
            form.number(field[name], (*where, name), least, MOST_INPUT)
    if field.get("value") is not None:
        form.text(field["value"], (*where, "value"), field.get("max_length") or MOST_INPUT)
    if field.get("placeholder") is not None:
        form.text(field["placeholder"], (*where, "placeholder"), 100)
    if not isinstance(field.get("required", True), bool):
        form.wrong((*where, "required"), "BOOLEAN_TYPE_CONVERT", "Must be either true or false.")


# What a person fills in.


def filled(modal: Json, values: dict[str, Any]) -> list[Json]:
    """The components of a submission. `values` go by custom_id or by label; a field without one keeps what stood in it."""
    left = set(values)
    found = [_submitted(item, values, left, index + 1) for index, item in enumerate(modal["components"])]
    assert not left, f"the modal has no {sorted(left)}"
    return found


def _submitted(item: Json, values: dict[str, Any], left: set[str], number: int) -> Json:
    base: Json = {"type": item["type"], "id": item.get("id", number)}
    if item["type"] == _ROW:
        field = item["components"][0]
        return base | {"components": [_field(field, field["label"], values, left, number)]}
    if item["type"] == _LABEL:
        return base | {"component": _field(item["component"], item["label"], values, left, number)}
    return base


def _field(field: Json, label: str, values: dict[str, Any], left: set[str], number: int) -> Json:
    name = field["custom_id"] if field["custom_id"] in values else label
    left.discard(name)
    found: Json = {"type": field["type"], "id": field.get("id", number + 100), "custom_id": field["custom_id"]}
    if field["type"] == _TEXT_INPUT:
        return found | {"value": _typed(field, label, str(values.get(name, field.get("value") or "")))}
    if field["type"] == _CHECKBOX:
        return found | {"value": bool(values.get(name, field.get("default", False)))}
    chosen = values.get(name, [item["value"] for item in field.get("options", ()) if item.get("default")])
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    check_choice(field, chosen, needed=field.get("required", True))
    if field["type"] == _RADIO:
        return found | {"value": chosen[0] if chosen else None}
    return found | {"values": chosen}


def _typed(field: Json, label: str, text: str) -> str:
    assert text or not field.get("required", True), f"{label!r} has to be filled in"
    if text:
        least, most = field.get("min_length") or 0, field.get("max_length") or MOST_INPUT
        assert least <= len(text) <= most, f"{label!r} takes {least} to {most} characters, not {len(text)}"
    assert field["style"] == 2 or "\n" not in text, f"{label!r} takes one line"
    return text


def check_choice(menu: Json, chosen: list[str], *, needed: bool = True) -> None:
    """Raise AssertionError unless a person can choose these in a menu."""
    least = menu.get("min_values", 1) if needed else 0
    most = 1 if menu["type"] == _RADIO else menu.get("max_values", 1)
    if menu["type"] == _CHECKBOXES:
        most = menu.get("max_values", len(menu["options"]))
    assert least <= len(chosen) <= most, f"between {least} and {most} can be chosen, not {len(chosen)}"
    if "options" in menu:
        known = {option["value"] for option in menu["options"]}
        assert set(chosen) <= known, f"no options {sorted(set(chosen) - known)}"

"""Block kit, views and metadata, checked as strictly as Slack's reference says. Each check returns what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.servers.slack.state import Json

MOST_BLOCKS, MOST_VIEW_BLOCKS = 50, 100
MOST_MARKDOWN, MOST_OF_ALL_BLOCKS = 12_000, 13_200
# Type of block: required fields, optional fields.
_BLOCKS: dict[str, tuple[str, str]] = {
    "section": ("", "text fields accessory expand"),
    "divider": ("", ""),
    "header": ("text", "level"),
    "image": ("alt_text", "image_url slack_file title"),
    "context": ("elements", ""),
    "context_actions": ("elements", ""),
    "actions": ("elements", ""),
    "markdown": ("text", ""),
    "rich_text": ("elements", ""),
    "input": ("label element", "hint optional dispatch_action"),
    "file": ("external_id source", ""),
    "table": ("rows", "column_settings"),
    "task_card": ("task_id title status", "details output sources"),
    "plan": ("title", "tasks"),
    "alert": ("text", "level"),
    "card": ("", "title subtitle body icon hero_image actions slack_icon subtext"),
    "carousel": ("elements", ""),
    "container": ("child_blocks", "title subtitle icon is_collapsible default_collapsed width"),
    "video": (
        "alt_text title thumbnail_url video_url",
        "author_name description provider_icon_url provider_name title_url",
    ),
}
_ELEMENTS: dict[str, tuple[str, str]] = {
    "button": ("text", "url value style confirm accessibility_label agent_prompt"),
    "static_select": ("", "options option_groups initial_option placeholder confirm focus_on_load"),
    "multi_static_select": (
        "",
        "options option_groups initial_options placeholder confirm focus_on_load max_selected_items",
    ),
    "overflow": ("options", "confirm"),
    "checkboxes": ("options", "initial_options confirm focus_on_load"),
    "radio_buttons": ("options", "initial_option confirm focus_on_load"),
    "plain_text_input": (
        "",
        "initial_value multiline min_length max_length placeholder dispatch_action_config focus_on_load",
    ),
    "email_text_input": ("", "initial_value placeholder dispatch_action_config focus_on_load"),
    "url_text_input": ("", "initial_value placeholder dispatch_action_config focus_on_load"),
    "number_input": (
        "is_decimal_allowed",
        "initial_value min_value max_value placeholder dispatch_action_config focus_on_load",
    ),
    "datepicker": ("", "initial_date placeholder confirm focus_on_load"),
    "timepicker": ("", "initial_time placeholder confirm focus_on_load timezone"),
    "users_select": ("", "initial_user placeholder confirm focus_on_load"),
    "conversations_select": (
        "",
        "initial_conversation default_to_current_conversation placeholder filter response_url_enabled",
    ),
    "channels_select": ("", "initial_channel placeholder confirm response_url_enabled focus_on_load"),
    "feedback_buttons": ("positive_button negative_button", ""),
    "icon_button": ("icon text", "value visible_to_user_ids accessibility_label confirm"),
    "image": ("alt_text", "image_url slack_file"),
    "file_input": ("", "filetypes max_files"),
    "rich_text_input": ("", "initial_value placeholder dispatch_action_config focus_on_load"),
}
_IN_ACTIONS = _ELEMENTS.keys() - {"image", "feedback_buttons", "icon_button", "file_input", "plain_text_input"}
_IN_INPUT = _ELEMENTS.keys() - {"image", "feedback_buttons", "icon_button", "button", "overflow"}
_ACCESSORY = (_IN_ACTIONS | {"image"}) - {"email_text_input", "url_text_input", "number_input", "rich_text_input"}
_RICH = {"rich_text_section", "rich_text_list", "rich_text_preformatted", "rich_text_quote"}
_INLINE = {"text", "channel", "user", "emoji", "link", "team", "usergroup", "date", "broadcast", "color"}


class Wrong(Exception):
    """What is wrong, and where."""


def wrong_blocks(blocks: Any, *, view: str = "") -> tuple[str, list[str]] | None:
    """The error's name and its messages when the blocks of a message (or of a `view` of this type) are not valid."""
    most = MOST_VIEW_BLOCKS if view else MOST_BLOCKS
    if not isinstance(blocks, list):
        return "invalid_blocks_format", ["must provide an array of blocks"]
    problems = []
    if len(blocks) > most:
        problems.append(f"no more than {most} items allowed [json-pointer:/blocks]")
    for index, block in enumerate(blocks):
        try:
            _block(block, f"/blocks/{index}", view)
        except Wrong as wrong:
            problems.append(str(wrong))
    ids = [block["block_id"] for block in blocks if isinstance(block, dict) and block.get("block_id")]
    problems += [f"block_id: {id_} already exists" for id_ in sorted({id_ for id_ in ids if ids.count(id_) > 1})]
    if problems:
        return "invalid_blocks", problems
    markdown = sum(len(block["text"]) for block in blocks if block["type"] == "markdown")
    if markdown > MOST_MARKDOWN:
        return "invalid_blocks", [f"markdown blocks have {markdown} characters, more than {MOST_MARKDOWN}"]
    if not view and sum(len(text) for text in _strings(blocks)) > MOST_OF_ALL_BLOCKS:
        return "msg_blocks_too_long", ["the blocks are too long altogether"]
    return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in {"type", "block_id", "action_id", "value", "url", "image_url"}:
                yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _need(right: bool, problem: str, where: str) -> None:
    if not right:
        raise Wrong(f"{problem} [json-pointer:{where}]")


def _shape(value: Any, known: dict[str, tuple[str, str]], extra: str, where: str) -> str:
    """The type of a block or element whose fields are the known ones."""
    _need(isinstance(value, dict), "must be an object", where)
    kind = value.get("type")
    _need(isinstance(kind, str) and kind in known, f"unsupported type: {kind}", f"{where}/type")
    required, optional = (names.split() for names in known[kind])
    for name in required:
        _need(name in value, f"missing required field: {name}", where)
    unknown = sorted(value.keys() - {"type", extra, *required, *optional})
    _need(not unknown, f"no more fields allowed: {unknown}", where)
    if extra in value:
        length = len(value[extra]) if isinstance(value[extra], str) else 0
        _need(1 <= length <= 255, f"{extra} must have 1 to 255 characters", f"{where}/{extra}")
    return str(kind)


def _text(value: Any, most: int, where: str, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> None:
    _need(isinstance(value, dict), "must be a text object", where)
    _need(value.get("type") in kinds, f"type must be one of {kinds}", f"{where}/type")
    unknown = sorted(value.keys() - {"type", "text", "emoji" if value["type"] == "plain_text" else "verbatim"})
    _need(not unknown, f"no more fields allowed: {unknown}", where)
    length = len(value["text"]) if isinstance(value.get("text"), str) else 0
    _need(length > 0, "must be more than 0 characters", f"{where}/text")
    _need(length <= most, f"must be less than {most + 1} characters", f"{where}/text")


def _plain(value: Any, most: int, where: str) -> None:
    _text(value, most, where, ("plain_text",))


def _items(value: Any, least: int, most: int, where: str) -> list[Any]:
    _need(isinstance(value, list), "must be an array", where)
    _need(least <= len(value) <= most, f"must have {least} to {most} items", where)
    return list(value)


def _string(value: Any, most: int, where: str, least: int = 1) -> None:
    _need(isinstance(value, str) and least <= len(value) <= most, f"must be a string of {least} to {most}", where)


def _block(block: Any, where: str, view: str = "") -> None:
    kind = _shape(block, _BLOCKS, "block_id", where)
    _need(
        not (view and kind in {"context_actions", "markdown", "task_card", "plan"}), f"unsupported type: {kind}", where
    )
    _need(not (kind == "file" and not view), "file blocks come only from Slack", where)
    check = _OF_BLOCK.get(kind)
    if check is not None:
        check(block, where)
    ids = [element["action_id"] for element in elements_of(block) if element.get("action_id")]
    for id_ in ids:
        _need(ids.count(id_) == 1, f"action_id: {id_} already exists in the block", where)


def _section(block: Json, where: str) -> None:
    _need("text" in block or "fields" in block, "missing required field: text", where)
    if "text" in block:
        _text(block["text"], 3000, f"{where}/text")
    for index, value in enumerate(_items(block["fields"], 1, 10, f"{where}/fields") if "fields" in block else ()):
        _text(value, 2000, f"{where}/fields/{index}")
    if "accessory" in block:
        _element(block["accessory"], _ACCESSORY, f"{where}/accessory")


def _header(block: Json, where: str) -> None:
    _plain(block["text"], 150, f"{where}/text")


def _image(block: Json, where: str) -> None:
    _need(("image_url" in block) != ("slack_file" in block), "exactly one of image_url and slack_file", where)
    if "image_url" in block:
        _string(block["image_url"], 3000, f"{where}/image_url")
    _string(block["alt_text"], 2000, f"{where}/alt_text")
    if "title" in block:
        _plain(block["title"], 2000, f"{where}/title")


def _context(block: Json, where: str) -> None:
    for index, value in enumerate(_items(block["elements"], 1, 10, f"{where}/elements")):
        at = f"{where}/elements/{index}"
        if isinstance(value, dict) and value.get("type") == "image":
            _element(value, {"image"}, at)
        else:
            _text(value, 3000, at)


def _actions(block: Json, where: str) -> None:
    for index, value in enumerate(_items(block["elements"], 1, 25, f"{where}/elements")):
        _element(value, _IN_ACTIONS, f"{where}/elements/{index}")


def _context_actions(block: Json, where: str) -> None:
    for index, value in enumerate(_items(block["elements"], 1, 5, f"{where}/elements")):
        _element(value, {"feedback_buttons", "icon_button"}, f"{where}/elements/{index}")


def _markdown(block: Json, where: str) -> None:
    _string(block["text"], MOST_MARKDOWN, f"{where}/text")


def _input(block: Json, where: str) -> None:
    _plain(block["label"], 2000, f"{where}/label")
    if "hint" in block:
        _plain(block["hint"], 2000, f"{where}/hint")
    _element(block["element"], _IN_INPUT, f"{where}/element")


def _rich_text(block: Json, where: str) -> None:
    for index, value in enumerate(_items(block["elements"], 1, 10_000, f"{where}/elements")):
        _rich_element(value, f"{where}/elements/{index}")


def _rich_element(value: Any, where: str) -> None:
    _need(isinstance(value, dict) and value.get("type") in _RICH, "unsupported rich text element", where)
    for index, part in enumerate(_items(value.get("elements"), 0, 10_000, f"{where}/elements")):
        at = f"{where}/elements/{index}"
        if value["type"] == "rich_text_list":
            _need(value.get("style") in {"bullet", "ordered"}, "style must be bullet or ordered", where)
            _need(isinstance(part, dict) and part.get("type") == "rich_text_section", "must be a section", at)
            _rich_element(part, at)
            continue
        _need(isinstance(part, dict) and part.get("type") in _INLINE, "unsupported rich text part", at)
        if part["type"] == "text":
            _string(part.get("text"), 40_000, f"{at}/text")


def _table(block: Json, where: str) -> None:
    for index, row in enumerate(_items(block["rows"], 1, 100, f"{where}/rows")):
        for place, cell in enumerate(_items(row, 1, 20, f"{where}/rows/{index}")):
            at = f"{where}/rows/{index}/{place}"
            kinds = {"raw_text", "raw_number", "rich_text"}
            _need(isinstance(cell, dict) and cell.get("type") in kinds, "unsupported cell", at)


def _task_card(block: Json, where: str) -> None:
    _string(block["task_id"], 255, f"{where}/task_id")
    _string(block["title"], 256, f"{where}/title")
    _need(block["status"] in {"pending", "in_progress", "complete", "error"}, "unknown status", f"{where}/status")
    for name in ("details", "output"):
        if name in block:
            _block(block[name], f"{where}/{name}")
            _need(block[name]["type"] == "rich_text", "must be rich_text", f"{where}/{name}")
    for index, source in enumerate(block.get("sources", ())):
        right = isinstance(source, dict) and source.get("type") == "url" and source.get("url") and source.get("text")
        _need(bool(right), "must be a url element", f"{where}/sources/{index}")


def _plan(block: Json, where: str) -> None:
    _string(block["title"], 256, f"{where}/title")
    for index, task in enumerate(_items(block.get("tasks", []), 0, 50, f"{where}/tasks")):
        _block({"type": "task_card", **task} if isinstance(task, dict) else task, f"{where}/tasks/{index}")


def _alert(block: Json, where: str) -> None:
    _text(block["text"], 200, f"{where}/text")
    levels = {"default", "info", "warning", "error", "success"}
    _need(block.get("level", "default") in levels, "unknown level", f"{where}/level")


def _carousel(block: Json, where: str) -> None:
    for index, value in enumerate(_items(block["elements"], 1, 10, f"{where}/elements")):
        _block(value, f"{where}/elements/{index}")


def _container(block: Json, where: str) -> None:
    for index, value in enumerate(_items(block["child_blocks"], 1, 10, f"{where}/child_blocks")):
        _block(value, f"{where}/child_blocks/{index}")


_OF_BLOCK = {
    "section": _section,
    "header": _header,
    "image": _image,
    "context": _context,
    "actions": _actions,
    "context_actions": _context_actions,
    "markdown": _markdown,
    "input": _input,
    "rich_text": _rich_text,
    "table": _table,
    "task_card": _task_card,
    "plan": _plan,
    "alert": _alert,
    "carousel": _carousel,
    "container": _container,
}


def _element(element: Any, allowed: Any, where: str) -> None:
    kind = _shape(element, _ELEMENTS, "action_id", where)
    _need(kind in allowed, f"unsupported element here: {kind}", where)
    if "confirm" in element:
        _confirm(element["confirm"], f"{where}/confirm")
    if "placeholder" in element:
        _plain(element["placeholder"], 150, f"{where}/placeholder")
    if kind == "button":
        _plain(element["text"], 75, f"{where}/text")
        _need(element.get("style", "primary") in {"primary", "danger"}, "unknown style", f"{where}/style")
    if kind == "icon_button":
        _plain(element["text"], 75, f"{where}/text")
        _items(element.get("visible_to_user_ids", []), 0, 10, f"{where}/visible_to_user_ids")
    if kind == "image":
        _image(element, where)
    for name, most in (("value", 2000), ("url", 3000), ("accessibility_label", 75), ("initial_value", 3000)):
        if name in element and kind not in {"number_input", "rich_text_input"}:
            _string(element[name], most, f"{where}/{name}", 0 if name == "initial_value" else 1)
    if kind == "feedback_buttons":
        _feedback(element, where)
    if kind == "plain_text_input":
        _need(0 <= element.get("min_length", 0) <= 3000, "min_length", where)
        _need(1 <= element.get("max_length", 1) <= 3000, "max_length", where)
    _choices(element, kind, where)


def _choices(element: Json, kind: str, where: str) -> None:
    if kind in {"static_select", "multi_static_select"}:
        _need(("options" in element) != ("option_groups" in element), "exactly one of options and option_groups", where)
        for index, group in enumerate(element.get("option_groups", ())):
            _plain(group["label"], 75, f"{where}/option_groups/{index}/label")
            _options(group["options"], 100, 75, f"{where}/option_groups/{index}/options")
    if "options" in element:
        most = {"overflow": 5, "checkboxes": 10, "radio_buttons": 10}.get(kind, 100)
        _options(element["options"], most, 75, f"{where}/options")
        known = [option["value"] for option in element["options"]]
        first = element.get("initial_option")
        initial = [first] if first is not None else element.get("initial_options", [])
        _need(all(option.get("value") in known for option in initial), "initial option is not an option", where)


def _options(options: Any, most: int, length: int, where: str) -> None:
    for index, option in enumerate(_items(options, 1, most, where)):
        at = f"{where}/{index}"
        _need(isinstance(option, dict) and not option.keys() - {"text", "value", "description", "url"}, "option", at)
        _text(option.get("text"), length, f"{at}/text")
        _string(option.get("value"), 150, f"{at}/value")
        if "description" in option:
            _text(option["description"], 75, f"{at}/description")
    values = [option["value"] for option in options]
    _need(len(set(values)) == len(values), "values of options must differ", where)


def _confirm(confirm: Any, where: str) -> None:
    _need(isinstance(confirm, dict), "must be an object", where)
    _need(not confirm.keys() - {"title", "text", "confirm", "deny", "style"}, "unknown fields", where)
    _plain(confirm.get("title"), 100, f"{where}/title")
    _text(confirm.get("text"), 300, f"{where}/text")
    _plain(confirm.get("confirm"), 30, f"{where}/confirm")
    _plain(confirm.get("deny"), 30, f"{where}/deny")


def _feedback(element: Json, where: str) -> None:
    for name in ("positive_button", "negative_button"):
        button = element[name]
        known = {"text", "value", "accessibility_label"}
        _need(isinstance(button, dict) and not button.keys() - known, "unknown fields", f"{where}/{name}")
        _plain(button.get("text"), 75, f"{where}/{name}/text")
        _string(button.get("value"), 2000, f"{where}/{name}/value")
        if "accessibility_label" in button:
            _string(button["accessibility_label"], 75, f"{where}/{name}/accessibility_label")


def elements_of(block: Json) -> list[Json]:
    """The elements of a block that a person can use."""
    found = [*block.get("elements", ()), block.get("accessory"), block.get("element"), *block.get("actions", ())]
    return [
        item for item in found if isinstance(item, dict) and item.get("type") in _ELEMENTS and item["type"] != "image"
    ]


def wrong_view(view: Any, kinds: tuple[str, ...]) -> list[str]:
    """What is wrong with a view of one of these types."""
    if not isinstance(view, dict) or view.get("type") not in kinds:
        return [f"view must be an object of a type in {kinds}"]
    problems = []
    known = {"type", "blocks", "private_metadata", "callback_id", "external_id"}
    if view["type"] == "modal":
        known |= {"title", "submit", "close", "clear_on_close", "notify_on_close", "submit_disabled"}
    problems += [f"no more fields allowed: {name}" for name in sorted(view.keys() - known)]
    for name, most in (("private_metadata", 3000), ("callback_id", 255), ("external_id", 255)):
        if name in view and (not isinstance(view[name], str) or len(view[name]) > most):
            problems.append(f"{name} must be a string of at most {most}")
    try:
        if view["type"] == "modal":
            _plain(view.get("title"), 24, "/view/title")
        for name in ("submit", "close"):
            if name in view and view[name] is not None:
                _plain(view[name], 24, f"/view/{name}")
    except Wrong as wrong:
        problems.append(str(wrong))
    blocks = view.get("blocks")
    found = wrong_blocks(blocks, view=view["type"])
    problems += found[1] if found else []
    if not found and view["type"] == "modal" and "submit" not in view:
        problems += ["submit is needed with inputs" for block in blocks or () if block["type"] == "input"][:1]
    return problems


def wrong_metadata(metadata: Any) -> str:
    """The name of what is wrong with a message's metadata, or nothing."""
    if not isinstance(metadata, dict):
        return "invalid_metadata_format"
    right = metadata.keys() == {"event_type", "event_payload"} and isinstance(metadata["event_payload"], dict)
    right = right and isinstance(metadata["event_type"], str) and bool(metadata["event_type"])
    return "" if right else "invalid_metadata_schema"

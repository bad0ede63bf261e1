"""What Discord refuses in the body of a message: lengths, counts and shapes, as documented. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.servers.discord.state import DiscordError, Json

MOST_CONTENT, MOST_NONCE, MOST_EMBED_TEXT, MOST_V2_TEXT, MOST_V2 = 2000, 25, 6000, 4000, 40
COMPONENTS_V2 = 1 << 15
_URL = re.compile(r"(https?|attachment)://\S+", re.IGNORECASE)
_SELECTS = {3, 5, 6, 7, 8}
_IN_V2 = {1, 9, 10, 12, 13, 14, 17}
_BUTTON = {"type", "id", "style", "label", "emoji", "custom_id", "url", "sku_id", "disabled"}
_EMBED = {
    *("title", "type", "description", "url", "timestamp", "color", "footer", "image", "thumbnail", "video"),
    *("provider", "author", "fields", "flags"),
}


class Form:
    """Collects what is wrong with a body, and raises it as 50035."""

    def __init__(self) -> None:
        self.errors: Json = {}

    def wrong(self, where: tuple[str | int, ...], code: str, message: str) -> None:
        """Add an error at a place in the body."""
        node = self.errors
        for part in where:
            node = node.setdefault(str(part), {})
        node.setdefault("_errors", []).append({"code": code, "message": message})

    def check(self) -> None:
        """Raise what was collected."""
        if self.errors:
            raise DiscordError(400, 50035, "Invalid Form Body", errors=self.errors)

    def text(self, value: Any, where: tuple[str | int, ...], most: int, least: int = 0) -> int:
        """The length of a string between these lengths."""
        if not isinstance(value, str):
            self.wrong(where, "STRING_TYPE_CONVERT", f'Could not interpret "{value}" as string.')
            return 0
        length = len(value.strip())
        if length < least and not length:
            self.wrong(where, "BASE_TYPE_REQUIRED", "This field is required")
        elif length > most and least <= 1:
            self.wrong(where, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        elif not least <= length <= most:
            self.wrong(where, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")
        return length

    def number(self, value: Any, where: tuple[str | int, ...], least: int, most: int) -> None:
        """A whole number in a range."""
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(where, "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
        elif not least <= value <= most:
            self.wrong(where, "NUMBER_TYPE_MAX", f"int value should be between {least} and {most}.")

    def choice(self, value: Any, where: tuple[str | int, ...], of: set[int]) -> None:
        """One of these numbers."""
        if value not in of or isinstance(value, bool):
            self.wrong(where, "BASE_TYPE_CHOICES", f"Value must be one of {tuple(sorted(of))}.")

    def url(self, value: Any, where: tuple[str | int, ...], most: int = 2048) -> None:
        """A web address."""
        if not isinstance(value, str) or not _URL.fullmatch(value) or len(value) > most:
            self.wrong(where, "URL_TYPE_INVALID_URL", "Not a well formed URL.")

    def items(self, value: Any, where: tuple[str | int, ...], most: int, least: int = 0) -> list[Json]:
        """The objects of a list with so many items."""
        if not isinstance(value, list):
            self.wrong(where, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
            return []
        if not least <= len(value) <= most:
            self.wrong(where, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                self.wrong((*where, index), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return [item for item in value if isinstance(item, dict)]


def check_message(body: Json, *, v2: bool) -> None:
    """Raise 50035 for a body that may not be a message. `v2`: it has (or had) the flag for components V2."""
    form = Form()
    if body.get("content") is not None:
        form.text(body["content"], ("content",), MOST_CONTENT)
    nonce = body.get("nonce")
    if nonce is not None and (isinstance(nonce, bool) or not isinstance(nonce, (str, int))):
        form.wrong(("nonce",), "NONCE_TYPE_INVALID", "Nonce must be a string or an integer.")
    elif nonce is not None and len(str(nonce)) > MOST_NONCE:
        form.wrong(("nonce",), "NONCE_TYPE_TOO_LONG", "Nonce must be at most 25 characters long.")
    if body.get("embeds") is not None:
        _embeds(form, body["embeds"])
    if len(body.get("sticker_ids") or ()) > 3:
        form.wrong(("sticker_ids",), "BASE_TYPE_MAX_LENGTH", "Must be 3 or fewer in length.")
    if v2:
        for name in ("content", "embeds", "poll", "sticker_ids"):
            if body.get(name):
                code = "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2"
                form.wrong((name,), code, f"The '{name}' field cannot be used when using MessageFlags.IS_COMPONENTS_V2")
    if body.get("components") is not None:
        (_components_v2 if v2 else _components)(form, body["components"])
    _allowed_mentions(form, body.get("allowed_mentions"))
    form.check()


def _allowed_mentions(form: Form, allowed: Any) -> None:
    if allowed is None:
        return
    if not isinstance(allowed, dict):
        form.wrong(("allowed_mentions",), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return
    parse = allowed.get("parse") or []
    for index, kind in enumerate(parse):
        if kind not in {"roles", "users", "everyone"}:
            where = ("allowed_mentions", "parse", index)
            form.wrong(where, "BASE_TYPE_CHOICES", "Value must be one of ('everyone', 'roles', 'users').")
    for name in ("users", "roles"):
        if len(allowed.get(name) or ()) > 100:
            form.wrong(("allowed_mentions", name), "BASE_TYPE_MAX_LENGTH", "Must be 100 or fewer in length.")
        if name in parse and allowed.get(name):
            code = "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE"
            form.wrong(("allowed_mentions",), code, f'parse:["{name}"] and {name}: [ids...] are mutually exclusive.')


# Embeds.


def _embeds(form: Form, embeds: Any) -> None:
    total = 0
    for index, embed in enumerate(form.items(embeds, ("embeds",), 10)):
        total += _embed(form, embed, ("embeds", index))
    if total > MOST_EMBED_TEXT:
        message = f"Embed size exceeds maximum size of {MOST_EMBED_TEXT}"
        form.wrong(("embeds",), "MAX_EMBED_SIZE_EXCEEDED", message)


def _embed(form: Form, embed: Json, where: tuple[str | int, ...]) -> int:
    total = 0
    for name, most in (("title", 256), ("description", 4096)):
        if embed.get(name) is not None:
            total += form.text(embed[name], (*where, name), most)
    for name, part, most in (("footer", "text", 2048), ("author", "name", 256)):
        if embed.get(name) is not None:
            total += form.text(embed[name].get(part), (*where, name, part), most, 1)
    for index, field in enumerate(form.items(embed.get("fields") or [], (*where, "fields"), 25)):
        for part, most in (("name", 256), ("value", 1024)):
            total += form.text(field.get(part), (*where, "fields", index, part), most, 1)
    _looks(form, embed, where)
    seen = any(embed.get(name) for name in ("title", "description", "footer", "image", "thumbnail", "author", "fields"))
    if not seen:
        form.wrong((*where, "description"), "BASE_TYPE_REQUIRED", "This field is required")
    for name in sorted(embed.keys() - _EMBED):
        form.wrong((*where, name), "UNKNOWN_FIELD", "An embed has no such field.")
    return total


def _looks(form: Form, embed: Json, where: tuple[str | int, ...]) -> None:
    if embed.get("color") is not None:
        form.number(embed["color"], (*where, "color"), 0, 0xFFFFFF)
    if embed.get("url") is not None:
        form.url(embed["url"], (*where, "url"))
    for name in ("image", "thumbnail"):
        if embed.get(name) is not None:
            form.url(embed[name].get("url"), (*where, name, "url"))


# Components.


def walk(components: Any) -> Iterator[Json]:
    """All components, those inside of others as well, in order."""
    for item in components if isinstance(components, list) else ():
        if isinstance(item, dict):
            yield item
            yield from walk(item.get("components"))
            yield from walk([item.get("accessory")])


def _components(form: Form, components: Any) -> None:
    rows = form.items(components, ("components",), 5)
    for index, row in enumerate(rows):
        form.choice(row.get("type"), ("components", index, "type"), {1})
        if row.get("type") == 1:
            _row(form, row, ("components", index))
    _unique(form, components)


def _components_v2(form: Form, components: Any) -> None:
    if not isinstance(components, list) or not components:
        form.wrong(("components",), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 40 in length.")
        return
    everything = list(walk(components))
    if len(everything) > MOST_V2:
        form.wrong(("components",), "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", f"Must be {MOST_V2} or fewer in total.")
    length = sum(len(str(item.get("content", ""))) for item in everything if item.get("type") == 10)
    if length > MOST_V2_TEXT:
        message = f"The total length of all text displays must be {MOST_V2_TEXT} or fewer."
        form.wrong(("components",), "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", message)
    for index, item in enumerate(form.items(components, ("components",), MOST_V2, 1)):
        _part(form, item, ("components", index), _IN_V2)
    _unique(form, components)


def _part(form: Form, item: Json, where: tuple[str | int, ...], allowed: set[int]) -> None:
    kind = item.get("type")
    form.choice(kind, (*where, "type"), allowed)
    if kind == 1:
        _row(form, item, where)
    elif kind == 10:
        form.text(item.get("content"), (*where, "content"), MOST_V2_TEXT, 1)
    elif kind == 9:
        for index, text in enumerate(form.items(item.get("components"), (*where, "components"), 3, 1)):
            _part(form, text, (*where, "components", index), {10})
        accessory = item.get("accessory")
        if not isinstance(accessory, dict):
            form.wrong((*where, "accessory"), "BASE_TYPE_REQUIRED", "This field is required")
        elif accessory.get("type") == 2:
            _button(form, accessory, (*where, "accessory"))
        else:
            form.choice(accessory.get("type"), (*where, "accessory", "type"), {2, 11})
    elif kind == 12:
        for index, media in enumerate(form.items(item.get("items"), (*where, "items"), 10, 1)):
            form.url(media.get("media", {}).get("url"), (*where, "items", index, "media", "url"))
    elif kind == 17:
        for index, inner in enumerate(form.items(item.get("components"), (*where, "components"), MOST_V2, 1)):
            _part(form, inner, (*where, "components", index), _IN_V2 - {17})


def _row(form: Form, row: Json, where: tuple[str | int, ...]) -> None:
    where = (*where, "components")
    items = form.items(row.get("components"), where, 5, 1)
    selects = [item for item in items if item.get("type") in _SELECTS]
    if selects and len(items) > 1:
        form.wrong(where, "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "A select menu fills its action row.")
    for index, item in enumerate(items):
        form.choice(item.get("type"), (*where, index, "type"), {2, *_SELECTS})
        if item.get("type") == 2:
            _button(form, item, (*where, index))
        elif item.get("type") in _SELECTS:
            _select(form, item, (*where, index))


def _button(form: Form, button: Json, where: tuple[str | int, ...]) -> None:
    style = button.get("style")
    form.choice(style, (*where, "style"), {1, 2, 3, 4, 5, 6})
    if button.get("label") is not None:
        form.text(button["label"], (*where, "label"), 80, 1)
    emoji = button.get("emoji")
    if emoji is not None and not (isinstance(emoji, dict) and (emoji.get("name") or emoji.get("id"))):
        form.wrong((*where, "emoji", "name"), "BUTTON_COMPONENT_INVALID_EMOJI", "Invalid emoji")
    if style != 6 and button.get("label") is None and not emoji:
        form.wrong(where, "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A button must have a label or an emoji.")
    if style == 5:
        form.url(button.get("url"), (*where, "url"), 512)
        if button.get("custom_id") is not None:
            code = "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE"
            form.wrong(where, code, "A custom id and url cannot both be specified")
    elif style == 6:
        if not button.get("sku_id"):
            form.wrong((*where, "sku_id"), "BASE_TYPE_REQUIRED", "This field is required")
    else:
        form.text(button.get("custom_id", ""), (*where, "custom_id"), 100, 1)
        if button.get("url") is not None:
            form.wrong((*where, "url"), "BUTTON_COMPONENT_URL_NOT_ALLOWED", "Only link buttons have a url.")
    for name in sorted(button.keys() - _BUTTON):
        form.wrong((*where, name), "UNKNOWN_FIELD", "A button has no such field.")


def _select(form: Form, menu: Json, where: tuple[str | int, ...]) -> None:
    form.text(menu.get("custom_id", ""), (*where, "custom_id"), 100, 1)
    if menu.get("placeholder") is not None:
        form.text(menu["placeholder"], (*where, "placeholder"), 150)
    if menu.get("type") != 3:
        return
    values = []
    for index, option in enumerate(form.items(menu.get("options"), (*where, "options"), 25, 1)):
        for name, least in (("label", 1), ("value", 1), ("description", 0)):
            if least or option.get(name) is not None:
                form.text(option.get(name), (*where, "options", index, name), 100, least)
        values.append(option.get("value"))
    if len(set(values)) != len(values):
        form.wrong((*where, "options"), "COMPONENT_SELECT_OPTION_VALUE_DUPLICATED", "Values must be unique.")


def _unique(form: Form, components: Any) -> None:
    for name, code in (("custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED"), ("id", "COMPONENT_ID_DUPLICATED")):
        known = [item[name] for item in walk(components) if item.get(name)]
        for value in {value for value in known if known.count(value) > 1}:
            form.wrong(("components",), code, f"Component {name} cannot be duplicated: {value}")


def numbered(components: list[Json]) -> list[Json]:
    """Give each component without an `id` one of its own, as Discord does."""
    taken = {item["id"] for item in walk(components) if item.get("id")}
    free = (number for number in range(1, 1000) if number not in taken)
    for item in walk(components):
        if not item.get("id"):
            item["id"] = next(free)
    return components

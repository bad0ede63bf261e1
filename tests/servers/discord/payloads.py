"""What clients send to the gateway: read and checked. Pure."""

from __future__ import annotations

import json
from typing import Any

from tests.servers.discord.state import Json

_STATUSES = {"online", "dnd", "idle", "invisible", "offline"}


class Closed(Exception):
    """The connection is closed with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


def payload_of(text: str) -> tuple[int, Any]:
    """The opcode and the data of a payload."""
    try:
        payload = json.loads(text)
    except ValueError:
        raise Closed(4002, "not JSON") from None
    if not isinstance(payload, dict) or not _is_int(payload.get("op")):
        raise Closed(4002, "not an object with an opcode")
    return payload["op"], payload.get("d")


def identify_of(data: Any) -> Json:
    """The data of an IDENTIFY that has what it must."""
    found = _fields(data, token=str, properties=dict, intents=int)
    missing = {"os", "browser", "device"} - found["properties"].keys()
    if missing:
        raise Closed(4002, f"IDENTIFY without properties {sorted(missing)}")
    shard = found.get("shard")
    if "shard" in found and not (isinstance(shard, list) and len(shard) == 2 and all(map(_is_int, shard))):
        raise Closed(4010, "shard is not [id, number]")
    if not 50 <= found.get("large_threshold", 50) <= 250:
        raise Closed(4002, "large_threshold is not between 50 and 250")
    return found


def resume_of(data: Any) -> Json:
    """The data of a RESUME."""
    return _fields(data, token=str, session_id=str, seq=int)


def presence_of(data: Any) -> Json:
    """The data of a presence update."""
    found = _fields(data, activities=list, status=str, afk=bool)
    if found["status"] not in _STATUSES or not (found.get("since") is None or _is_number(found["since"])):
        raise Closed(4002, "a presence update with a wrong status or since")
    return found


def members_asked(data: Any) -> Json:
    """The data of a request for members: by the beginning of their names, or by ids."""
    found = _fields(data)
    found["guild_id"] = str(found.get("guild_id", ""))
    named = "user_ids" not in found
    if named and not (isinstance(found.get("query"), str) and _is_int(found.get("limit"))):
        raise Closed(4002, "a request for members needs user_ids, or a query and a limit")
    if not named:
        ids = found["user_ids"]
        found["user_ids"] = [str(user) for user in ids] if isinstance(ids, list) else [str(ids)]
        if len(found["user_ids"]) > 100:
            raise Closed(4002, "more than 100 user_ids")
    if len(str(found.get("nonce") or "").encode()) > 32:
        del found["nonce"]
    return found


def _fields(data: Any, **kinds: type) -> Json:
    if not isinstance(data, dict):
        raise Closed(4002, "d is not an object")
    for name, kind in kinds.items():
        value = data.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Closed(4002, f"{name} is not {kind.__name__}")
    return dict(data)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""What people do with commands, shortcuts, buttons and forms."""

from __future__ import annotations

import copy
import time
from typing import Any

from tests.servers.slack.checks import elements_of, wrong_view
from tests.servers.slack.deliveries import Delivery
from tests.servers.slack.people import People
from tests.servers.slack.state import Channel, Json, Message, SlackError, View


class Interactions(People):
    """Each of these returns the delivery, whose `settled` and `acked_at` tell what the app did."""

    def new_trigger(self, user: str, team: str) -> str:
        """A trigger_id, good once and for three seconds."""
        id_ = f"{self.new_id('X')}.{team}.{self.new_id('x')}"
        self.triggers[id_] = (user, team, time.monotonic() + self.trigger_seconds)
        return id_

    def slash(self, user: str, channel: str, command: str, text: str = "") -> Delivery:
        """Type a slash command."""
        with self.lock:
            room = self.channels[channel]
            team = self.teams[room.team]
            url = self.response_url(user, channel)
            payload = {
                "token": self.verification_token,
                "team_id": team.id,
                "team_domain": team.domain,
                "channel_id": channel,
                "channel_name": {"im": "directmessage", "group": "privategroup"}.get(room.kind, room.name),
                "user_id": user,
                "user_name": self.users[user].name,
                "command": command,
                "text": text,
                "api_app_id": self.app_id,
                "is_enterprise_install": "false",
                "response_url": url,
                "trigger_id": self.new_trigger(user, team.id),
            }

            def answered(body: Any) -> None:
                try:
                    self.respond(url.rpartition("/")[2], body, counted=False)
                except SlackError as error:
                    self.violations.append(f"answer to {command}: {error.error}")

            return self.command(payload, answered)

    def message_shortcut(self, user: str, channel: str, ts: str, callback_id: str) -> Delivery:
        """Use a shortcut in a message's menu."""
        with self.lock:
            room = self.channels[channel]
            message = room.find(ts)
            assert message is not None
            payload = self._who(user, room.team) | {
                "type": "message_action",
                "action_ts": self.now_ts(),
                "callback_id": callback_id,
                "trigger_id": self.new_trigger(user, room.team),
                "response_url": self.response_url(user, channel),
                "message_ts": ts,
                "channel": {"id": channel, "name": room.name},
                "message": self.message_json(room, message),
            }
            return self.interact(payload)

    def global_shortcut(self, user: str, callback_id: str) -> Delivery:
        """Use a shortcut of the composer."""
        with self.lock:
            team = self._home(user)
            payload = self._who(user, team) | {
                "type": "shortcut",
                "action_ts": self.now_ts(),
                "callback_id": callback_id,
                "trigger_id": self.new_trigger(user, team),
            }
            return self.interact(payload)

    def click(self, user: str, channel: str, ts: str, action_id: str, value: str | None = None) -> Delivery:
        """Use a button or a menu of a message. `value` chooses among options and feedback buttons."""
        with self.lock:
            message = self.channels[channel].find(ts)
            assert message is not None, f"no message {ts}"
            return self._clicked(user, self.channels[channel], message, action_id, value)

    def click_ephemeral(
        self, user: str, channel: str, action_id: str, value: str | None = None, *, ts: str = ""
    ) -> Delivery:
        """Use a button of an ephemeral message: of the newest one that has it."""
        with self.lock:
            room = self.channels[channel]
            mine = [item for item in room.ephemerals if item.only_for == user and not item.deleted]
            for message in reversed(mine):
                has = any(
                    element.get("action_id") == action_id
                    for block in message.blocks or ()
                    for element in elements_of(block)
                )
                if has and ts in ("", message.ts):
                    return self._clicked(user, room, message, action_id, value)
            raise AssertionError(f"no ephemeral message with {action_id}")

    def click_view(self, user: str, view_id: str, action_id: str, value: str | None = None) -> Delivery:
        """Use a button of a home tab or a modal."""
        with self.lock:
            view = self.view_table[view_id]
            action = self._action(view.body["blocks"], action_id, value)
            payload = self._who(user, view.team) | {
                "type": "block_actions",
                "container": {"type": "view", "view_id": view.id},
                "trigger_id": self.new_trigger(user, view.team),
                "view": self.view_json(view),
                "actions": [action],
            }
            return self.interact(payload)

    def _clicked(self, user: str, room: Channel, message: Message, action_id: str, value: str | None) -> Delivery:
        action = self._action(message.blocks or [], action_id, value)
        ephemeral = bool(message.only_for)
        container = {"type": "message", "message_ts": message.ts, "channel_id": room.id, "is_ephemeral": ephemeral}
        if message.thread_ts:
            container["thread_ts"] = message.thread_ts
        payload = self._who(user, room.team) | {
            "type": "block_actions",
            "container": container,
            "trigger_id": self.new_trigger(user, room.team),
            "channel": {"id": room.id, "name": room.name},
            "state": {"values": {}},
            "response_url": self.response_url(user, room.id, message.ts, message.thread_ts, ephemeral),
            "actions": [action],
        }
        if not ephemeral:
            payload["message"] = self.message_json(room, message)
        return self.interact(payload)

    def _action(self, blocks: list[Json], action_id: str, value: str | None) -> Json:
        """The action of the element with this id, as it stands there now."""
        for block in blocks:
            for element in elements_of(block):
                if element.get("action_id") == action_id:
                    return self._used(block, element, value)
        raise AssertionError(f"no element {action_id}")

    def _used(self, block: Json, element: Json, value: str | None) -> Json:
        kind = element["type"]
        action = {"type": kind, "action_id": element["action_id"], "block_id": block["block_id"]}
        action["action_ts"] = self.now_ts()
        if kind in {"button", "icon_button"}:
            assert value in (None, element.get("value"))
            given = {name: element[name] for name in ("text", "value", "style", "url", "icon") if name in element}
            return action | copy.deepcopy(given)
        if kind == "feedback_buttons":
            chosen = [
                element[name] for name in ("positive_button", "negative_button") if element[name]["value"] == value
            ]
            assert chosen, f"no feedback {value}"
            return action | {"text": copy.deepcopy(chosen[0]["text"]), "value": value}
        options = [*element.get("options", ())]
        options += [option for group in element.get("option_groups", ()) for option in group["options"]]
        if not options:
            names = {"plain_text_input": "value", "datepicker": "selected_date", "users_select": "selected_user"}
            return action | {names.get(kind, "value"): value}
        found = [option for option in options if option["value"] == value]
        assert found, f"no option {value}"
        if kind in {"checkboxes", "multi_static_select"}:
            return action | {"selected_options": copy.deepcopy(found)}
        return action | {"selected_option": copy.deepcopy(found[0])}

    # Forms.

    def submit(self, user: str, view_id: str, values: Json, *, seconds: float = 10) -> Any:
        """Send a form off; `values` go by action_id or block_id. The app's response_action payload comes back."""
        with self.lock:
            view = self.view_table[view_id]
            assert view.open
            assert view.user == user
            state = self._state(view, values)
            payload = self._who(user, view.team) | {
                "type": "view_submission",
                "trigger_id": self.new_trigger(user, view.team),
                "view": self.view_json(view, state),
                "response_urls": [],
            }
            delivery = self.interact(payload, accepts_response=True)
        assert delivery.settled.wait(seconds), "the submission was not acknowledged"
        assert delivery.acked_at is not None, "the submission was not acknowledged"
        with self.lock:
            self._after(view, delivery.response)
        return delivery.response

    def close_view(self, user: str, view_id: str) -> Delivery | None:
        """Cancel a form; the app is told when it asked for that."""
        with self.lock:
            view = self.view_table[view_id]
            view.open = False
            if not view.body.get("notify_on_close"):
                return None
            payload = self._who(user, view.team) | {
                "type": "view_closed",
                "view": self.view_json(view),
                "is_cleared": False,
            }
            return self.interact(payload)

    def _state(self, view: View, values: Json) -> Json:
        state: Json = {}
        left = set(values)
        for block in view.body["blocks"]:
            if block["type"] != "input":
                continue
            element = block["element"]
            name = element.get("action_id", "")
            key = name if name in values else block["block_id"]
            left.discard(key)
            given = values.get(key, element.get("initial_value"))
            assert given is not None or block.get("optional"), f"{key} is not filled in"
            state[block["block_id"]] = {name: self._filled(element, given)}
        assert not left, f"the form has no {sorted(left)}"
        return state

    def _filled(self, element: Json, given: Any) -> Json:
        kind = element["type"]
        options = [*element.get("options", ())]
        options += [option for group in element.get("option_groups", ()) for option in group["options"]]
        if not options:
            if isinstance(given, str) and kind == "plain_text_input":
                assert len(given) <= element.get("max_length", 3000)
                assert len(given) >= element.get("min_length", 0)
            names = {"users_select": "selected_user", "datepicker": "selected_date"}
            return {"type": kind, names.get(kind, "value"): given}
        wanted = given if isinstance(given, list) else [given]
        found = [copy.deepcopy(option) for option in options if option["value"] in wanted]
        assert found or given is None, f"no option {given}"
        if kind in {"checkboxes", "multi_static_select"}:
            return {"type": kind, "selected_options": found}
        return {"type": kind, "selected_option": found[0] if found else None}

    def _after(self, view: View, response: Any) -> None:
        """What Slack does with the answer to a submission."""
        action = (response or {}).get("response_action")
        if action == "errors":
            blocks = {block["block_id"] for block in view.body["blocks"] if block["type"] == "input"}
            if not response.get("errors") or response["errors"].keys() - blocks:
                self.violations.append(f"view_submission: errors for {response.get('errors')}")
        elif action in {"update", "push"}:
            problems = wrong_view(response.get("view"), ("modal",))
            if problems:
                self.violations.append(f"view_submission: {problems}")
            elif action == "update":
                view.body = response["view"]
                for number, block in enumerate(view.body["blocks"]):
                    block.setdefault("block_id", f"b{number:03d}")
        elif action == "clear":
            for other in self.view_table.values():
                if other.root == view.root:
                    other.open = False
        elif response:
            self.violations.append(f"view_submission: unknown response {response}")
        else:
            view.open = False

    def _home(self, user: str) -> str:
        team = self.users[user].team
        return team if team in self.teams else self.team.id

    def _who(self, user: str, team: str) -> Json:
        person, home = self.users[user], self.teams[team]
        return {
            "user": {"id": user, "username": person.name, "name": person.name, "team_id": person.team},
            "api_app_id": self.app_id,
            "token": self.verification_token,
            "team": {"id": home.id, "domain": home.domain},
            "enterprise": None,
            "is_enterprise_install": False,
        }

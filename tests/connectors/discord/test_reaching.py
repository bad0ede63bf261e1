"""What Discord's delivery does besides replies: tickets, files, who reads along, tags, and the forms of a reply."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.errors import DeliveryError
from agent.ledger import Ticket
from agent.messages import Address, Answer, Attachment, Citation, Message
from connectors.discord.ids import private_thread
from connectors.discord.outgoing import units
from connectors.discord.replies import STYLES, Style, contents
from connectors.discord.tags import State, tags_for
from tests.connectors.discord.delivering import ANSWER, Desk
from tests.servers.discord import Fault

NAMES = ("Answered", "needs a person", "resolved")


def ticket_for(question: Message, number: int = 7) -> Ticket:
    about: dict[str, Any] = {
        "reason": "asked",
        "question": question.text,
        "summary": "They asked <@1>.",
        "status": "open",
        "staff_post": "",
    }
    opened: dict[str, Any] = {"opened_at": datetime.now(UTC), "resolved_at": None, "resolved_by": ""}
    return Ticket(number, question.address, question.id, question.person, **about, **opened)


def staff_room(desk: Desk) -> Address:
    role = desk.discord.add_role(desk.discord.guild, "staff")
    return Address("discord", desk.discord.guild, desk.discord.add_channel("staff", only_roles=[role]))


# --- tickets


async def test_staff_are_told_once_and_led_to_the_conversation(desk: Desk) -> None:
    room, question = staff_room(desk), desk.ask("I want @everyone to know")
    await desk.tell(question, ANSWER)
    posted = await desk.delivery.notify(room, ticket_for(question))
    (seen,) = desk.discord.ours(room.room)
    assert seen.id == posted
    assert "Ticket #7" in seen.text
    assert "ana (" in seen.text
    thread = question.address.thread
    assert [button["url"] for button in seen.buttons] == [f"https://discord.com/channels/{desk.discord.guild}/{thread}"]
    desk.posts.forget()
    desk.discord.nonce_seconds = 0
    assert await desk.delivery.notify(room, ticket_for(question)) == posted
    async with desk.another_process() as other:
        assert await other.delivery.notify(room, ticket_for(question)) == posted
        later = await other.delivery.notify(room, ticket_for(question, number=70))
    assert [seen.id for seen in desk.discord.ours(room.room)] == [posted, later]


async def test_the_way_to_what_was_asked_in_place_or_directly(desk: Desk) -> None:
    room = staff_room(desk)
    for number, question in enumerate((desk.ask(in_place=True), desk.ask_directly())):
        await desk.delivery.notify(room, ticket_for(question, number))
    in_place, direct = desk.discord.ours(room.room)
    said = desk.discord.visible(desk.room)[0].id
    assert [button["url"] for button in in_place.buttons] == [
        f"https://discord.com/channels/{desk.discord.guild}/{desk.room}/{said}"
    ]
    assert direct.buttons == []
    assert "ana (" in direct.text


@pytest.mark.parametrize("why", ["no right to embeds", "refused"])
async def test_a_ticket_without_its_frame_is_words(desk: Desk, why: str) -> None:
    room, question = staff_room(desk), desk.ask("How much is it?")
    if why == "refused":
        desk.discord.faults.append(Fault(method="POST", path=".*/messages", status=400, code=50035))
    else:
        desk.discord.permit(room.room, embed_links=False)
    posted = await desk.delivery.notify(room, ticket_for(question))
    (seen,) = desk.discord.ours(room.room)
    assert seen.id == posted
    assert seen.content.startswith("Ticket #7: How much is it?")
    assert f"/channels/{desk.discord.guild}/{desk.room}/" in seen.text


async def test_staff_that_cannot_be_told(desk: Desk) -> None:
    room, question = staff_room(desk), desk.ask()
    desk.discord.delete_channel(room.room)
    with pytest.raises(DeliveryError) as raised:
        await desk.delivery.notify(room, ticket_for(question))
    assert raised.value.gone
    desk.discord.faults.append(Fault(status=503, times=99))
    async with desk.another_process(final_seconds=0.5) as hasty:
        with pytest.raises(DeliveryError) as raised:
            await hasty.delivery.notify(Address("discord", desk.discord.guild, desk.room), ticket_for(question))
    assert not raised.value.gone
    desk.discord.faults.clear()


# --- files


async def test_the_first_bytes_of_a_file(desk: Desk) -> None:
    desk.discord.say(desk.customer, desk.room, "See", files=[("log.txt", b"error 1\nerror 2\n")])
    (file,) = desk.discord.visible(desk.room)[0].attachments
    address = Address("discord", desk.discord.guild, desk.room, "1")

    async def fetch(source: str, most: int = 1_000) -> bytes:
        return await desk.delivery.fetch(address, Attachment("log.txt", "text/plain", 16, source=source), most)

    assert await fetch(file["url"]) == b"error 1\nerror 2\n"
    assert await fetch(file["url"], 7) == b"error 1"
    with pytest.raises(DeliveryError, match="HTTP 404") as raised:
        await fetch(file["url"].replace("hm=", "hm=0"))
    assert raised.value.gone
    desk.discord.faults.append(Fault(method="GET", path="/attachments/.*", status=302))
    with pytest.raises(DeliveryError, match="HTTP 302"):
        await fetch(file["url"])


@pytest.mark.parametrize(
    "source",
    [
        "",
        "https://elsewhere.example/log.txt",
        "http://cdn.discordapp.com/attachments/1/2/log.txt",
        "https://cdn.discordapp.com:8443/attachments/1/2/log.txt",
        "https://cdn.discordapp.com@elsewhere.example/log.txt",
        "https://cdn.discordapp.com.elsewhere.example/log.txt",
        "https://elsewhere.example\\@cdn.discordapp.com/log.txt",
        "https://[::1/log.txt",
        "file:///etc/passwd",
    ],
)
async def test_nothing_is_fetched_from_elsewhere(desk: Desk, source: str) -> None:
    address = Address("discord", desk.discord.guild, desk.room, "1")
    with pytest.raises(DeliveryError, match="not on a host of Discord"):
        await desk.delivery.fetch(address, Attachment("log.txt", "text/plain", 16, source=source), 10)


# --- who reads along


async def test_outsiders(desk: Desk) -> None:
    discord, guild = desk.discord, desk.discord.guild
    role = discord.add_role(guild, "team")
    inside, outside = discord.add_channel("inside", only_roles=[role]), desk.room
    discord.join(guild, desk.customer, [role])
    thread = discord.start_thread(desk.customer, inside, "x", discord.say(desk.customer, inside, "Hello"))

    async def read(room: str, thread: str = "", space: str = guild) -> bool:
        return await desk.delivery.outsiders(Address("discord", space, room, thread))

    assert await read(outside, "1")
    assert not await read(inside)
    assert not await read(inside, thread)
    assert await read(outside, private_thread(desk.customer))
    assert not await read(inside, private_thread(desk.customer))
    assert await read(discord.dm(desk.customer), space="dm")
    discord.overwrite(inside, guild, view_channel=True)
    assert await read(inside)
    discord.faults.append(Fault(method="GET", status=403, code=50001, times=99))
    assert await read(inside)
    assert await read(discord.dm(desk.customer), space="dm")


# --- tags


@pytest.mark.parametrize(
    ("applied", "state", "after"),
    [
        (["1"], "answered", ["1", "7"]),
        (["1", "7"], "answered", ["1", "7"]),
        (["7", "1"], "needs a person", ["1", "8"]),
        (["1", "2", "3", "4"], "resolved", ["1", "2", "3", "4"]),
        (["1", "2", "3", "4", "5"], "answered", ["1", "2", "3", "4", "5"]),
        (["1", "2", "3", "4", "8"], "answered", ["1", "2", "3", "4", "7"]),
    ],
)
def test_the_tag_of_a_state_takes_the_place_of_the_one_before(
    applied: Sequence[str], state: State, after: Sequence[str]
) -> None:
    available = [{"id": "7", "name": " ANSWERED "}, {"id": "8", "name": "Needs a person"}]
    available += [{"id": str(number), "name": f"topic {number}"} for number in range(1, 6)]
    assert tags_for(applied, available, NAMES, state) == after


# --- the forms of a reply


def test_sources_stand_below_the_last_part() -> None:
    cited = tuple(
        Citation(number, f"{number}.md", "Title " * 12, f"https://example.com/{'x' * 80}/{number}", "...")
        for number in range(1, 40)
    )
    answer = Answer("\n\n".join("word " * 300 for _ in range(3)), cited)
    turn = "discord:1/2#3"
    for style in STYLES:
        parts = contents(answer, turn, style)
        assert all(units(part["content"]) <= style.limit for part in parts)
        assert [bool(part["components"]) for part in parts] == [False] * (len(parts) - 1) + [style.buttons]
        assert bool(parts[-1]["embeds"]) is style.embeds
        assert "example.com" in str(parts[-1])
    assert contents(Answer(""), turn, Style())[0]["content"] == "…"

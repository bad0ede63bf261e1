"""What a model leaks: thinking, tool calls, special tokens, raw JSON; and a model that goes round in circles."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ModelBroken
from agent.models.leaked_json import LONGEST_CALL
from agent.models.leaks import VisibleText
from agent.models.loops import Loop

CALL = '{"name": "lookup", "arguments": {"id": 1}}'
LOOKUP = [{"name": "lookup", "arguments": {"id": 1}}]
BROKEN = "(broken)"


def seen(pieces: Iterable[str], *, as_json: bool = False) -> tuple[str, list[Any], bool]:
    """What comes out of `pieces`: the visible text, the tool calls, whether there was thinking."""
    visible = VisibleText(tools=True, json=as_json)
    try:
        text = "".join(map(visible.feed, pieces)) + visible.end()
    except ModelBroken:
        text = BROKEN
    return text, [json.loads(call) for call in visible.tool_calls], visible.thought


def cuts(text: str) -> Iterable[list[str]]:
    yield list(text)
    for cut in range(len(text) + 1):
        yield [text[:cut], text[cut:]]


def pieces_of(text: str, data: st.DataObject) -> list[str]:
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


# --- thinking


THINKING = [
    ("<think>Hm.</think>Hello", "Hello"),
    ("\n<think>\nHm.\n</think>\n\nHello", "Hello"),
    ("<THINK>Hm.</Think> Hello", "Hello"),
    ('<think mood="good"\n  depth=3 >Hm.</think >Hello', "Hello"),
    ("<thinking>a <b> </think> c</thinking>Hello", "Hello"),
    ("<thought>x</thought><reasoning>y</reasoning><mm:think>z</mm:think>Hello", "Hello"),
    ("[THINK]Hm.[/THINK]Hello", "Hello"),
    ("◁think▷Hm.◁/think▷Hello", "Hello"),
    ("Hello <think>Hm.</think>there", "Hello there"),
    ("Hello<think>never closed", "Hello"),
    ("<think>only this", ""),
    ("<think>a<think>b</think>c</think>Hello", "Hello"),
    ("<think>a</think>b</think>c", "bc"),
    ("<think>First `</think>`, then</think>Hello", "Hello"),
    ("<think>It`s the `end`</think>Hello `there`", "Hello `there`"),
    ("<think>```\ncode</think>Hello", "Hello"),
    ('<think>I call <tool_call>{"a": 1}</tool_call></think>Hello', "Hello"),
    (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello<|return|>",
        "Hello",
    ),
    ("<|start|>assistant<|channel|>analysis<|message|>Hm. <b>", ""),
    ("<|channel>thought\nHm.\n<channel|>Hello<turn|>", "Hello"),
]


@pytest.mark.parametrize(("written", "shown"), THINKING)
def test_thinking_is_removed_however_the_text_is_cut(written: str, shown: str) -> None:
    assert all(seen(pieces) == (shown, [], True) for pieces in [[written], *cuts(written)])


@pytest.mark.parametrize("written", ["<think>\n\n</think>\n\nHello", "<think/>Hello", "[THINK] [/THINK]Hello"])
def test_empty_thinking_is_none(written: str) -> None:
    assert all(seen(pieces) == ("Hello", [], False) for pieces in [[written], *cuts(written)])


@pytest.mark.parametrize("end", ["</think>", "</THINKING>", "[/THINK]", "◁/think▷", "<channel|>"])
def test_an_end_without_a_beginning_takes_back_what_was_not_shown_yet(end: str) -> None:
    written = f"The user wants to cancel.{end}\n\nHello"
    assert seen([written]) == seen(["\n", written]) == ("Hello", [], True)
    assert {seen(pieces)[0] for pieces in cuts(written)} == {"Hello", BROKEN}
    assert seen([f'{{"a": 1}}{end}', "Hello"]) == seen(['{"a": ', f"1}}{end}Hello"]) == ("Hello", [], True)
    assert seen([f"{CALL}{end}Hello"]) == ("Hello", [], True)


def test_an_end_without_a_beginning_gives_up_what_was_shown() -> None:
    visible = VisibleText()
    assert visible.feed("The user wants ") == "The user wants "
    with pytest.raises(ModelBroken, match="thinking") as caught:
        visible.feed("to cancel.</think>Hello")
    assert "reasoning parser" in caught.value.hint


# --- tool calls


CALLS = [
    (f"<tool_call>\n{CALL}\n</tool_call>Hello", "Hello"),
    (f'Hello<tool_call id="a">{CALL}', "Hello"),
    (f"<TOOL_CALL>{CALL}</TOOL_CALL>Hello", "Hello"),
    (f"<tool_call>{CALL}<|im_end|>", ""),
    (f"Hello <function_call>{CALL}</function_call>there", "Hello there"),
    ('<function=lookup>{"id": 1}</function>Hello', "Hello"),
    ("<function=lookup>\n<parameter=id>\n1\n</parameter>\n</function>\n</tool_call>Hello", "Hello"),
    ("<tool_call><function=lookup><parameter=id>1</function></tool_call>", ""),
    ("<tool_call>lookup\n<arg_key>id</arg_key>\n<arg_value>1</arg_value>\n</tool_call>", ""),
    ('<tool_call>lookup\n{"id": 1}</tool_call>', ""),
    (
        '<minimax:tool_call><invoke name="lookup"><parameter name="id">1</parameter></invoke></minimax:tool_call>Hello',
        "Hello",
    ),
    (
        '<｜DSML｜function_calls><｜DSML｜invoke name="lookup"><｜DSML｜parameter name="id" string="false">1'
        "</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>Hello",
        "Hello",
    ),
    (f"<|tool_call|>[{CALL}]", ""),
    (f"<|tool_call|>[{CALL}]<|/tool_call|>Hello", "Hello"),
    (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>lookup\n```json\n"
        '{"id": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>Hello',
        "Hello",
    ),
    ('<|tool▁calls▁begin|><|tool▁call▁begin|>lookup<|tool▁sep|>{"id": 1}<|tool▁call▁end|><|tool▁calls▁end|>', ""),
    (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.lookup:0<|tool_call_argument_begin|>"
        '{"id": 1}<|tool_call_end|><|tool_calls_section_end|>Hello',
        "Hello",
    ),
    (f"[TOOL_CALLS] [{CALL}]", ""),
    ('Hello[TOOL_CALLS]lookup[ARGS]{"id": 1}</s>', "Hello"),
    (f"<|python_tag|>{CALL}<|eom_id|>", ""),
    ('<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>{"id": 1}<|call|>', ""),
    (
        '<|start|>assistant to=functions.lookup<|channel|>commentary json<|message|>{"id": 1}<|call|>'
        "<|start|>assistant<|channel|>final<|message|>Hello",
        "Hello",
    ),
    (CALL, ""),
    (f"\n[{CALL}]\n", ""),
    (f"```json\n{CALL}\n```", ""),
    (f"```\n[{CALL}]\n```\n", ""),
    ('{"type": "function", "name": "lookup", "parameters": {"id": 1}}', ""),
    ('{"type": "function", "function": {"name": "lookup", "arguments": "{\\"id\\": 1}"}}<|im_end|>', ""),
    ('{"tool_calls": [{"id": "a", "function": {"name": "lookup", "arguments": {"id": 1}}}]}', ""),
    (f"{CALL}\n\nHello", "Hello"),
    (f"Let me look that up. {CALL}", "Let me look that up. "),
    (f"One moment [1]: [ {CALL} ] Done {{id}}.", "One moment [1]:  Done {id}."),
]


@pytest.mark.parametrize(("written", "shown"), CALLS)
def test_a_tool_call_is_removed_and_kept_for_who_wants_it(written: str, shown: str) -> None:
    assert all(seen(pieces) == (shown, LOOKUP, False) for pieces in [[written], *cuts(written)])


def test_several_tool_calls_keep_their_order() -> None:
    calls = [{"name": name, "arguments": {"é": [1, "}"]}} for name in "abc"]
    a, b, c = (json.dumps(call) for call in calls)
    for written in (
        f"<tool_call>{a}\n{b}</tool_call>Hm<tool_call>{c}",
        f"{a}; {b}\n{c}",
        f"So: [{a}, {b}] and {c}",
        f"{a}<tool_call>{b}</tool_call> {c}",
    ):
        assert all(seen(pieces)[1] == calls for pieces in [[written], *cuts(written)])


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ('<tool_call>{"name": "lookup", "arguments": {"id": 1', ""),
        ("<tool_call><function=lookup><parameter=id>1", ""),
        ("<tool_call>I should look</tool_call>Hello", "Hello"),
        ("<tool_call>{}</tool_call>Hello", "Hello"),
        ("<tool_response>\n[]\n</tool_response>Hello", "Hello"),
        ('Hello {"name": "lookup", "arguments": {"id": 1}', "Hello "),
        ('Hello {"name": "lookup", "arguments": {"id": 1,}} there', "Hello  there"),
        ("<|channel|>commentary<|message|>Let me see.<|end|>Hello", "Hello"),
    ],
)
def test_a_tool_call_that_cannot_be_read_is_hidden_but_not_guessed_at(written: str, shown: str) -> None:
    assert all(seen(pieces) == (shown, [], False) for pieces in [[written], *cuts(written)])


def test_tool_calls_nobody_asked_for_are_dropped() -> None:
    visible = VisibleText()
    assert visible.feed(f"Hello <tool_call>{CALL}</tool_call>{CALL}") + visible.end() == "Hello "
    assert visible.tool_calls == []


def test_a_brace_is_held_back_no_longer_than_a_tool_call_may_be() -> None:
    visible = VisibleText()
    long = '{"name": "' + "x" * LONGEST_CALL
    assert visible.feed("Hello ") == "Hello "
    shown = [visible.feed(letter) for letter in long]
    assert "".join(shown[: LONGEST_CALL - 1]) == ""
    assert "".join(shown) + visible.end() == long


# --- special tokens


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<|im_start|>assistant\nHello<|im_end|>", "Hello"),
        ("<|im_start|>Hello there.\n<|im_end|>", "Hello there.\n"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>", "Hello"),
        ("<s>Hello</s>", "Hello"),
        ("<bos><start_of_turn>model\nHello<end_of_turn>", "Hello"),
        ("Hello<|endoftext|><|end_of_text|><｜end▁of▁sentence｜>", "Hello"),
        ("Hello[/INST] there", "Hello there"),
        ("```\nx\n```<|im_end|>", "```\nx\n```"),
        ("Hello<|im_end|>\n<|im_start|>user\nMore?<|im_end|>\n<|im_start|>assistant\nNo.", "Hello\nNo."),
        ("Hello\n<|user|>\nMore?\n<|assistant|>\nNo.", "Hello\n\nNo."),
    ],
)
def test_special_tokens_are_removed(written: str, shown: str) -> None:
    assert all(seen(pieces) == (shown, [], False) for pieces in [[written], *cuts(written)])


# --- what stays


@pytest.mark.parametrize(
    "text",
    [
        "Use `<think>` and `</think>`, or ``<tool_call>`` `x`.",
        "So:\n```xml\n<think>\n</think> <|im_end|> {}\n```\nDone [1].",
        f"So:\n~~~\n{CALL}\n~~~\nor `{CALL}`.",
        f"```json\n{CALL}\n```\nis what you send.",
        f"````\n```\n<think>{CALL}\n```\n````\n",
        "1 < 2 > 0, a <- b, a <| b, <b>bold</b> <thin> <thinker> </thin> <thought of the day> [T] [THIN] <",
        "[1] Hello",
        "[[unsure]]",
        "[[ask]] Which {plan}?",
        "[link](https://example.com/{id}) {{name}} {} { } {1, 2} [{}]",
        '{"a": 1} is what you send.',
        '{"a": 1}, [{"b": "}"}] and {"name": "Anna", "age": 3} are examples.',
        '```json\n{"a": 1}\n```\nis what you send.',
        "{name} is a placeholder.",
        "&lt;think&gt; &amp; ◁ ◁thin▷ ~5 ~~old~~ \\{ ` `` ``` x",
        "Grüße, 你好，世界。 مرحبا नमस्ते 👩‍👩‍👧 🇨🇭",
        "-" * 80 + "\n| a | b |\n|---|---|\n| 1 | 2 |",
        "It`s fine.\nReally`s fine.",
        "Hello <thi",
        "```\nnever closed <think>",
        '```json\n```json\n{"a": 1}',
    ],
)
def test_what_is_no_leak_stays(text: str) -> None:
    assert all(seen(pieces) == (text, [], False) for pieces in [[text], *cuts(text)])


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_characters="<[◁`~{")), st.data())
def test_other_text_passes_unchanged_at_once(text: str, data: st.DataObject) -> None:
    visible, given_so_far, shown = VisibleText(), "", ""
    for piece in pieces_of(text, data):
        given_so_far += piece
        shown += visible.feed(piece)
        assert shown == given_so_far.lstrip() or not given_so_far.strip(" \n;,")
    assert shown + visible.end() == text.lstrip() or not text.strip(" \n;,")


def test_prose_is_shown_word_by_word() -> None:
    prose = (
        "[1] You can <b>cancel</b> within 14 days [2][3], if 1 < 2 and {name} is set; see [the page](https://example.com). "
        "* Don't wait *\n\n1. Write to us.\n2. It's ~5 minutes [[really]] — a <- b 🙂.\n\n| a | b |\n|---|---|\n| [4] | ◁ |\n"
    )
    visible, shown = VisibleText(), ""
    words = [word + " " for word in prose.split(" ")]
    for number, word in enumerate(words, 1):
        shown += visible.feed(word)
        assert shown == "".join(words[:number])


def test_a_citation_or_a_mark_at_the_beginning_is_not_delayed() -> None:
    for text in ("[1]", "[[unsure]]"):
        visible = VisibleText()
        shown = [visible.feed(letter) for letter in text]
        assert shown[0] == ""
        assert "".join(shown) == text


# --- JSON in place of an answer


JSONS = [
    '{"a": 1}',
    ' [{"a": "]}\\""}]\n',
    '```json\n{"a": 1}\n```',
    '```\n{"a": 1}',
    '{"answer": "Hello',
    "{}",
    '{"a": 1}{"b": 2}',
]


@pytest.mark.parametrize(
    "written", [*JSONS, '{"a": 1}<|im_end|>', "<think>Hm.</think>{\n}", f'```\n{CALL}\n```\n{{"a": 1}}']
)
def test_json_is_no_answer(written: str) -> None:
    for pieces in [[written], *cuts(written)]:
        visible = VisibleText(tools=True)
        assert "".join(map(visible.feed, pieces)) == ""
        with pytest.raises(ModelBroken, match="JSON"):
            visible.end()


@pytest.mark.parametrize("written", [*JSONS, CALL])
def test_who_asked_for_json_gets_it_whole(written: str) -> None:
    for text in (written, f"Hm.</think>{written}", f"<think>Hm.</think>{written}<|im_end|>"):
        unclosed = written.count("```") == 1 and text != written
        for pieces in [[text], *cuts(text)]:
            assert unclosed or seen(pieces, as_json=True)[:2] == (written.lstrip(), [])


# --- any text, however it is cut


FRAGMENTS = [
    *(
        "<think>",
        "</think>",
        "<thinking a='1'>",
        "[THINK]",
        "[/THINK]",
        "◁think▷",
        "</thought>",
        "<tool_call>",
        "</tool_call>",
    ),
    *(
        "<|channel|>",
        "<channel|>",
        "<|start|>",
        "<|message|>",
        "<|end|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|tool_call|>",
    ),
    *("final", "analysis", "commentary to=functions.a", "assistant", "user", "[TOOL_CALLS]", "</s>", "<function=a>"),
    *(
        "<parameter=b>",
        "</function>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        CALL,
        CALL[:-1],
        f"[{CALL}]",
        '{"a": 1}',
    ),
    *(
        '{"a": "\\',
        "{",
        "}",
        "[",
        "]",
        '"',
        "\\",
        "`",
        "``",
        "```",
        "```json\n",
        "~~~\n",
        "\n```\n",
        "\n",
        " ",
        ";",
        ",",
        "<",
        ">",
    ),
    *("/", "|", "|>", "<|", "◁", "▷", "a", "Hello ", "1", ":", "x" * 130),
]
ANY = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


@settings(deadline=None, max_examples=1_500)
@given(ANY, st.booleans(), st.data())
def test_the_cuts_do_not_matter(text: str, as_json: bool, data: st.DataObject) -> None:
    # One thought goes before, so that no end is without a beginning.
    text = f"<think>.</think>{text}"
    whole = seen([text], as_json=as_json)
    assert seen(pieces_of(text, data), as_json=as_json) == seen(text, as_json=as_json) == whole


@settings(deadline=None, max_examples=500)
@given(ANY, st.data())
def test_without_a_beginning_the_cuts_decide_only_whether_it_is_too_late(text: str, data: st.DataObject) -> None:
    assert seen(pieces_of(text, data))[0] in (seen([text])[0], BROKEN)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from([written for written, _ in THINKING + CALLS]), st.sampled_from(["", "Hello ", "Hi.\n\n"]), st.data()
)
def test_no_cut_lets_a_leak_through(written: str, before: str, data: st.DataObject) -> None:
    assert seen(pieces_of(before + written, data)) == seen([before + written])


# --- loops


def loops(text: str) -> bool:
    found = Loop().feed(text)
    one_by_one = Loop()
    assert [one_by_one.feed(letter) for letter in text][-1:] in ([found], [])
    return found


UNITS = ["-", "a ", "\n", "la ", "12345 ", "I am sorry. ", "You can cancel within 14 days [1]. ", "Ü" * 40 + "\n"]


@pytest.mark.parametrize("unit", [*UNITS, " ".join(map(str, range(50))), " ".join(map(str, range(250)))])
@pytest.mark.parametrize("before", ["", "My answer:"])
def test_a_loop_is_seen(unit: str, before: str) -> None:
    times = max(4, -(-400 // len(unit)))
    assert not loops(before + unit * (times - 1))
    assert loops(before + unit * times)
    assert loops(before + unit * times + "\n\nAnd on.")


@settings(deadline=None, max_examples=150)
@given(st.text(min_size=1, max_size=300), st.text(max_size=300), st.data())
def test_any_loop_is_seen_however_it_is_cut(unit: str, before: str, data: st.DataObject) -> None:
    text = before + unit * (400 // len(unit) + 5)
    loop = Loop()
    assert [loop.feed(piece) for piece in pieces_of(text, data)][-1]


REFRAIN = "Round and round the garden, like a teddy bear.\nOne step, two step, tickle you under there.\n\n"
NO_LOOPS = {
    "rule": f"Above\n\n{'-' * 80}\n\nBelow\n\n{'=' * 200}\n",
    "rules": "".join(f"Part {n}\n{'-' * 80}\n\n" for n in range(50)),
    "separator": "| " + " | ".join(["plan"] * 20) + " |\n" + "|---" * 60 + "|\n",
    "table": "".join(f"| {n} | open | closed | open | closed | open |\n" for n in range(300)),
    "list": "".join(f"- Room {n}: free cancellation, breakfast included [1]\n" for n in range(300)),
    "numbers": "".join(f"{n}. " for n in range(2_000)),
    "steps": "".join(f"{n}. Click **Next**.\n" for n in range(1, 60)),
    "poem": "".join(f"Verse {n} is about the number {n}.\n\n{REFRAIN}" for n in range(20)),
    "code": "".join(f"    if value == {n}:\n        return names[{n}]\n" for n in range(300)) + "    }\n" * 20,
    "few": REFRAIN * 3,
}


@pytest.mark.parametrize("text", NO_LOOPS.values(), ids=NO_LOOPS)
def test_what_only_resembles_a_loop_is_none(text: str) -> None:
    assert not loops(text)

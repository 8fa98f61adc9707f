"""The Telegram bridge against a Bot API server: nothing lost, nothing twice, no token anywhere."""

from __future__ import annotations

import asyncio
import io
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.bridges.fake_telegram import TOKEN, FakeTelegram
from tests.bridges.house import House, house, telegram_bridge

from retainer.chat.bridges import attention
from retainer.chat.bridges.delivery import MessageGoneError
from retainer.chat.bridges.poller_lock import one_poller
from retainer.chat.bridges.settings import TelegramSettings
from retainer.chat.bridges.telegram import TelegramBridge
from retainer.chat.bridges.telegram_lost import PROBES
from retainer.core.clock import ManualClock
from retainer.core.effects import Permit
from retainer.core.errors import NotSentError, RefusedError, RejectedError
from retainer.core.protocols import Button, IncomingMessage, OutgoingMessage
from retainer.runtime.control import read_control
from retainer.safety.limits import Limits

PERMIT = Permit("k", "d")


async def nothing(_: IncomingMessage) -> None:
    """A receiver that takes everything."""


class Listening:
    """A bridge alone, listening, with what it heard."""

    def __init__(self, server: FakeTelegram, folder: Path) -> None:
        self.bridge = telegram_bridge(server.url, TOKEN, folder)
        self.heard: list[IncomingMessage] = []
        self.failures = 0
        self._server = server

    async def __aenter__(self) -> Listening:
        self._task = asyncio.create_task(self.bridge.run(self._take))
        await self._server.wait_for(lambda: bool(self._server.called("getUpdates")))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, message: IncomingMessage) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        self.heard.append(message)


# --- speaking --------------------------------------------------------------------------------------------------------
async def test_every_character_is_shown_and_bold_is_rendered(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        ref = await alone.bridge.send("42", OutgoingMessage(text="a < b & *c* > 2*3*4"), None, "k", PERMIT)
        assert server.messages[int(ref or 0)]["text"] == "a < b & c > 2*3*4"
        assert "<b>c</b>" in server.called("sendMessage")[0]["text"]


async def test_markup_the_server_refuses_is_sent_as_plain_text(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        server.fault("sendMessage", "400", "Bad Request: can't parse entities: unexpected end tag")
        await alone.bridge.send("42", OutgoingMessage(text="*odd* <x>"), None, "k", PERMIT)
        assert server.texts() == ["*odd* <x>"]


async def test_editing_to_the_same_text_counts_as_done(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        message = OutgoingMessage(text="same", buttons=(Button("Approve", "a:abcd2345"),))
        ref = await alone.bridge.send("42", message, None, "k", PERMIT)
        assert await alone.bridge.send("42", message, ref, "k", PERMIT) == ref


async def test_a_message_that_is_gone_is_said_to_be(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        with pytest.raises(MessageGoneError):
            await alone.bridge.send("42", OutgoingMessage(text="new"), "777", "k", PERMIT)
        assert server.texts() == []


async def test_errors_are_sorted_by_what_is_known(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:

        async def send(ref: str | None = None) -> None:
            await alone.bridge.send("42", OutgoingMessage(text="x"), ref, "k", PERMIT)

        server.fault("sendMessage", "429", 7)
        with pytest.raises(NotSentError) as slow:
            await send()
        assert slow.value.retry_after == 7.0
        server.fault("sendMessage", "502")
        with pytest.raises(NotSentError):
            await send()
        server.fault("sendMessage", "403", "Forbidden: bot was blocked by the user")
        with pytest.raises(RejectedError):
            await send()
        server.fault("sendMessage", "drop_after")
        with pytest.raises(Exception, match="RemoteProtocolError") as unknown:
            await send()
        assert not isinstance(unknown.value, NotSentError | RejectedError)
        server.fault("editMessageText", "drop_before")
        with pytest.raises(NotSentError):  # an edit may be repeated, so it counts as not sent
            await send("1")


async def test_without_a_connection_nothing_was_sent(tmp_path: Path) -> None:
    bridge = telegram_bridge("http://127.0.0.1:9", TOKEN, tmp_path)
    with pytest.raises(NotSentError):
        await bridge.send("42", OutgoingMessage(text="x"), None, "k", PERMIT)
    task = asyncio.create_task(bridge.run(nothing))
    await asyncio.sleep(0.3)
    with pytest.raises(NotSentError, match="cannot be reached"):
        await bridge.send("42", OutgoingMessage(text="x"), None, "k", PERMIT)
    assert bridge.health()["ok"] is False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_growing_reply_is_edited_no_faster_than_allowed(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        ref = await alone.bridge.open("42", "k", PERMIT)
        assert server.messages[int(ref)]["text"] == "…"
        loop = asyncio.get_running_loop()
        began = loop.time()
        for n in range(20):
            await alone.bridge.update("42", ref, "word " * (n + 1))
            await asyncio.sleep(0.01)
        assert len(server.called("editMessageText")) <= (loop.time() - began) / 0.05 + 2
        await alone.bridge.send("42", OutgoingMessage(text="final"), ref, "k", PERMIT)
        await asyncio.sleep(0.1)
        assert server.texts() == ["final"]


async def test_without_the_guards_permit_nothing_leaves(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        with pytest.raises(RefusedError):
            await alone.bridge.send("42", OutgoingMessage(text="x"), None, "another", PERMIT)
        assert server.texts() == []


# --- listening -------------------------------------------------------------------------------------------------------
async def test_what_could_not_be_kept_is_asked_for_again(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        alone.failures = 3
        await server.say("one")
        await server.say("two")
        await server.wait_for(lambda: len(alone.heard) == 2)
        assert [m.text for m in alone.heard] == ["one", "two"]


async def test_faults_of_the_server_are_survived(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        for kind, value in (("502", None), ("drop_before", None), ("drop_after", None), ("429", 0.1), ("409", None)):
            server.fault("getUpdates", kind, value)
            await server.say(kind)
        await server.wait_for(lambda: len(alone.heard) == 5)
        await server.wait_for(lambda: bool(alone.bridge.health()["ok"]))
        assert [m.text for m in alone.heard] == ["502", "drop_before", "drop_after", "429", "409"]


async def test_what_is_no_message_is_ignored(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        await server.push(edited_message={"message_id": 1})
        await server.push(message={"nonsense": True})
        await server.push(something_of_next_year={"x": 1})
        await server.say(None, pinned_message={"message_id": 1})
        await server.say("in a group", chat=-100)
        await server.say("hello @Retainer_Test_Bot how are you", chat=-100)
        await server.say("private")
        await server.wait_for(lambda: len(alone.heard) == 2)
        assert [(m.text, m.group) for m in alone.heard] == [("hello  how are you", True), ("private", False)]


async def test_a_changed_message_is_not_acted_on_and_that_is_said(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("hello")
        await server.wait_text("re hello")
        changed = {**server.last_update["message"], "text": "buy", "edit_date": 1_800_000_000}
        await server.push(edited_message=changed)
        await server.wait_text("changes to a message")
        moved = {key: value for key, value in changed.items() if key != "text"}
        await server.push(edited_message={**moved, "location": {}})
        await server.say("bye")
        await server.wait_text("re bye")
        assert [event.body["text"] for event in h.agent.heard] == ["hello", "bye"]


async def test_words_of_others_are_kept_apart(server: FakeTelegram, tmp_path: Path) -> None:
    async with Listening(server, tmp_path) as alone:
        await server.say("sell everything", forward_origin={"type": "user"})
        await server.say("what is this?", reply_to_message={"from": {"id": 7}, "text": "buy now"})
        await server.say("yes", reply_to_message={"from": {"id": 123456789}, "text": "Buy 5 AAPL?"})
        await server.wait_for(lambda: len(alone.heard) == 3)
        assert [(m.text, m.quoted) for m in alone.heard] == [
            ("", "sell everything"),
            ("what is this?", "buy now"),
            ("yes", ""),
        ]


async def test_an_old_poll_is_waited_for_then_reported(server: FakeTelegram, tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    settings = TelegramSettings(base_url=server.url, poll_seconds=0)
    bridge = TelegramBridge(lambda: TOKEN, settings, clock=clock, lock_folder=tmp_path, pause=0.01)
    server.fault("getUpdates", "409", times=1000)
    task = asyncio.create_task(bridge.run(nothing))
    await server.wait_for(lambda: len(server.called("getUpdates")) >= 2)
    await asyncio.sleep(0.05)
    assert "previous connection" in str(bridge.health()["detail"])
    clock.advance(seconds=41)
    seen = len(server.called("getUpdates"))
    await server.wait_for(lambda: len(server.called("getUpdates")) >= seen + 2)
    await asyncio.sleep(0.05)
    assert "another program" in str(bridge.health()["detail"])
    server.faults.clear()
    await server.wait_for(lambda: bool(bridge.health()["ok"]))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_poller_per_token_on_a_machine(server: FakeTelegram, tmp_path: Path) -> None:
    bridge = telegram_bridge(server.url, TOKEN, tmp_path)
    with one_poller(TOKEN, tmp_path):
        task = asyncio.create_task(bridge.run(nothing))
        await asyncio.sleep(0.1)
        assert "Another process" in str(bridge.health()["detail"])
        assert not server.called("getUpdates")
    await server.wait_for(lambda: bool(server.called("getUpdates")))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_health_turns_red_within_a_minute_of_deafness(server: FakeTelegram, tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    settings = TelegramSettings(base_url=server.url)
    bridge = TelegramBridge(lambda: TOKEN, settings, clock=clock, lock_folder=tmp_path)
    task = asyncio.create_task(bridge.run(nothing))
    await server.say("x")
    await server.wait_for(lambda: bool(bridge.health()["ok"]))
    clock.advance(seconds=60)
    assert bridge.health()["ok"] is False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_no_token_in_the_logs_even_at_debug(server: FakeTelegram, tmp_path: Path) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        async with Listening(server, tmp_path) as alone:
            for method in ("sendMessage", "getUpdates"):
                for kind in ("502", "drop_before", "401"):
                    server.fault(method, kind)
            for _ in range(3):
                with pytest.raises(Exception, match=r"."):
                    await alone.bridge.send("42", OutgoingMessage(text="a private text"), None, "k", PERMIT)
            await server.say("hello")
            await server.wait_for(lambda: len(alone.heard) == 1)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert TOKEN not in stream.getvalue()
    assert TOKEN.split(":")[1] not in stream.getvalue()
    assert "a private text" not in stream.getvalue()


# --- with the whole service ------------------------------------------------------------------------------------------
async def settled(h: House) -> None:
    await h.runtime.idle()


async def test_a_conversation(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("hello")
        await server.wait_text("re hello")
        assert h.agent.heard[0].lane == "chat:telegram:42"


async def test_a_quick_answer_comes_without_typing(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("hello")
        await server.wait_text("re hello")
        await h.hub.stop()
        assert server.called("sendChatAction") == []


async def test_every_message_that_waits_shows_typing_until_it_is_answered(
    server: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "RENEW", 0.3)
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("slow")
        await server.wait_for(lambda: len(server.called("sendChatAction")) == 1)
        seen = len(server.called("sendChatAction"))
        await server.say("behind it")
        await server.wait_for(lambda: len(server.called("sendChatAction")) >= seen + 3)
        assert {call["action"] for call in server.called("sendChatAction")} == {"typing"}
        h.agent.release.set()
        await server.wait_text("re behind it")
        await h.runtime.idle()
        await asyncio.sleep(0.5)
        after = len(server.called("sendChatAction"))
        await asyncio.sleep(0.7)
        assert len(server.called("sendChatAction")) == after


async def test_what_waits_after_a_restart_shows_typing_again(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("slow")
        await server.wait_text("and so on")
    before = len(server.called("sendChatAction"))
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.wait_for(lambda: len(server.called("sendChatAction")) > before)
        h.agent.release.set()
        await server.wait_text("slow done")
    assert server.texts() == ["slow done"]


async def test_typing_that_fails_or_hangs_harms_nothing(server: FakeTelegram, tmp_path: Path) -> None:
    server.fault("sendChatAction", "502")
    server.fault("sendChatAction", "429", 0.2)
    server.fault("sendChatAction", "drop_after")
    server.fault("sendChatAction", "late", 60, times=100)
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("slow")
        await server.wait_for(lambda: len(server.called("sendChatAction")) >= 4, 20)
        h.agent.release.set()
        await server.wait_text("slow done")


async def test_a_reply_to_a_message_that_the_person_deleted_is_sent_anew(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("slow")
        bubble = await server.wait_text("and so on")
        del server.messages[bubble["message_id"]]
        h.agent.release.set()
        await server.wait_text("slow done")
        await h.runtime.idle()
    assert server.texts() == ["slow done"]


# --- placeholders whose number was lost ------------------------------------------------------------------------------
def bubbles(server: FakeTelegram) -> list[str]:
    """Everything the bot shows in the chat, placeholders included."""
    return [message["text"] for message in server.messages.values() if message["chat"]["id"] == 42]


async def test_a_placeholder_whose_number_was_lost_is_found_and_filled(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        for text in ("one", "two"):
            await server.say(text)
            await server.wait_text(f"re {text}")
        server.fault("sendMessage", "drop_after")
        await server.say("three")
        await server.wait_text("re three", seconds=20)
        await h.runtime.idle()
    assert bubbles(server) == ["re one", "re two", "re three"]


async def test_a_lost_placeholder_of_a_growing_reply_is_found_when_the_reply_is_said(
    server: FakeTelegram, tmp_path: Path
) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        h.agent.release.set()
        server.fault("sendMessage", "drop_after")
        await server.say("slow")
        await server.wait_text("slow done")
        await h.runtime.idle()
    assert bubbles(server) == ["slow done"]


async def test_no_other_message_is_touched_in_the_search_for_a_lost_one(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("long")
        await server.wait_text("Paragraph 11.")
        await server.say("card")
        card = await server.wait_text("Buy 5 AAPL?")
        before = {number: dict(message) for number, message in server.messages.items()}
        edits = len(server.called("editMessageText"))
        server.fault("sendMessage", "drop_before")  # never arrived: there is nothing to find
        await server.say("x")
        await server.say("not ours either", user=43)
        await server.wait_text("re x", seconds=20)
        await h.runtime.idle()
    assert {number: server.messages[number] for number in before} == before
    assert "reply_markup" in server.messages[card["message_id"]]
    tried = [int(call["message_id"]) for call in server.called("editMessageText")[edits:]]
    assert min(tried) > max(before)
    assert len(tried) <= PROBES + 1
    assert bubbles(server)[-1] == "re x"


async def test_of_two_lost_placeholders_each_reply_fills_its_own(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("before")
        await server.wait_text("re before")
        server.fault("sendMessage", "drop_after", times=2)
        await server.say("slow")
        await server.say("behind")
        await server.wait_for(lambda: bubbles(server).count("…") >= 1)
        h.agent.release.set()
        await server.wait_text("re behind", seconds=20)
        await server.wait_text("slow done", seconds=20)
        await h.runtime.idle()
    assert sorted(bubbles(server)) == ["re before", "re behind", "slow done"]


async def test_long_replies_come_in_parts_in_order(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN):
        await server.say("long")
        await server.wait_text("Paragraph 11.")
        texts = server.texts()
        assert len(texts) == 3
        assert " ".join(texts).split() == [word for n in range(12) for word in ("Paragraph", f"{n}.", *["word"] * 150)]


async def test_a_card_is_answered_by_its_button_and_changed(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN):
        await server.say("card")
        card = await server.wait_text("Buy 5 AAPL?")
        assert card["reply_markup"]["inline_keyboard"][0][0]["callback_data"] == "a:abcd2345"
        await server.press(card["message_id"], "a:abcd2345")
        await server.wait_text("Approved.")
        assert server.texts() == ["Approved."]
        await server.wait_for(lambda: bool(server.called("answerCallbackQuery")))


async def test_a_picture_is_sent_once(server: FakeTelegram, tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    picture.write_bytes(b"\x89PNG")
    async with house(tmp_path, url=server.url, token=TOKEN):
        await server.say(f"picture {picture}")
        await server.wait_for(lambda: len(server.called("sendPhoto")) == 1)
        await server.wait_text("Here.")


async def test_a_failed_send_is_tried_again_and_said_once(server: FakeTelegram, tmp_path: Path) -> None:
    server.fault("sendMessage", "502")
    server.fault("editMessageText", "drop_after")
    server.fault("editMessageText", "429", 1)
    async with house(tmp_path, url=server.url, token=TOKEN):
        for n in range(4):
            await server.say(f"m{n}")
        await server.wait_text("re m3", seconds=30)
        assert server.texts() == [f"re m{n}" for n in range(4)]


async def test_stop_is_heard_while_a_reply_grows(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN) as h:
        await server.say("slow")
        await server.wait_text("and so on")
        for n in range(5):
            await server.say(f"waiting {n}")
        await server.say("stop")
        async with asyncio.timeout(2.0):
            while not read_control(h.store.view()).stopped:
                await asyncio.sleep(0.01)
        await server.wait_text("slow (stopped)")
        await server.wait_text("did stop")
        await server.wait_text("re waiting 4")


async def test_too_many_messages_get_one_polite_notice(server: FakeTelegram, tmp_path: Path) -> None:
    async with house(tmp_path, url=server.url, token=TOKEN, limits=Limits(messages_per_minute=3)) as h:
        for n in range(8):
            await server.say(f"m{n}")
        await server.say("stop")
        await server.wait_text("did stop")
        await settled(h)
        assert sum("I take 3 messages a minute" in text for text in server.texts()) == 1
        assert [t for t in server.texts() if t.startswith("re ")] == ["re m0", "re m1", "re m2"]

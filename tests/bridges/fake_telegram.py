"""A Bot API server for tests and demonstrations: the documented shapes, faults on demand, and a log that judges.

Runs inside a test (``async with FakeTelegram() as server``) or as a process of its own::

    python fake_telegram.py --port 0 --log bot.jsonl      # prints one line: {"url": ..., "token": ...}

Implemented: getMe, getUpdates (long poll; asking with an offset confirms and deletes what is before it; 409 for a
second poller), sendMessage, editMessageText, sendPhoto, sendChatAction, answerCallbackQuery, setMyCommands,
getMyCommands, deleteWebhook, 401 for another token. The phone's side: ``say``, ``press``, ``wait_for``. As a process:
POST JSON to ``/control/say``, ``/control/press``, ``/control/fault``, ``/control/spare`` (no more kills), and GET
``/control/state``.

The log has one JSON line for every request that changed something a person can see, written before the answer leaves.
``typing`` shows leave no message behind: they have a log of their own beside it (:func:`typing_log`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import html
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "123456789:AAEfakefakefakefakefakefakefakefake_-"
BOT = {"id": 123456789, "is_bot": True, "first_name": "Test bot", "username": "retainer_test_bot"}
KILLS = {"kill_before", "kill_after"}
VISIBLE = {"sendmessage", "editmessagetext", "sendphoto"}
_TAG = re.compile(r"</?(?:b|i|pre|code)>")


@dataclass
class Fault:
    """What to do to the next ``times`` requests of ``method`` (lower case; ``*`` for any).

    ``kind``: ``429`` (``value`` seconds), ``502``, ``409``, ``400`` and ``403`` (``value`` is the description),
    ``drop_before`` (the connection dies, nothing happened), ``drop_after`` (it happened, the answer is lost), ``slow``
    (``value`` seconds until it happens), ``late`` (it happened, the answer takes ``value`` seconds), ``kill_before``
    and ``kill_after`` (SIGKILL for the process ``value``, before or after it happened). ``pass_by``: leave so many
    alone first.
    """

    method: str
    kind: str
    value: Any = None
    times: int = 1
    pass_by: int = 0


@dataclass
class Answer:
    """An HTTP answer; ``status`` 0 drops the connection."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)


class BotApiError(Exception):
    """A refusal in the Bot API's words."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
        if parameters:
            body["parameters"] = parameters
        self.answer = Answer(code, body)


class FakeTelegram:
    """One bot, any number of people. ``messages`` is what people see now, by message id."""

    def __init__(self, *, token: str = TOKEN, log: Path | None = None, port: int = 0) -> None:
        self.token = token
        self.messages: dict[int, dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault] = []
        self.commands: list[dict[str, str]] = []
        self.last_update: dict[str, Any] = {}
        self._theirs: dict[int, int] = {}
        self._updates: list[dict[str, Any]] = []
        self._update_id = 1000
        self._message_id = 0
        self._press_id = 0
        self._pollers = 0
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._log = log
        self._port = port

    # --- life --------------------------------------------------------------------------------------------------------
    async def __aenter__(self) -> FakeTelegram:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self._port, limit=1 << 20)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        """What to set as ``base_url``."""
        return f"http://127.0.0.1:{self._port}"

    # --- the phone's side --------------------------------------------------------------------------------------------
    async def say(self, text: str | None, *, user: int = 42, chat: int | None = None, **extra: Any) -> int:
        """A person writes; returns the message id. ``extra`` fields go into the message as they are."""
        self._message_id += 1
        message: dict[str, Any] = {
            "message_id": self._message_id,
            "date": int(time.time()),
            "from": {"id": user, "is_bot": False, "first_name": f"User {user}"},
            "chat": {"id": chat or user, "type": "private" if chat is None else "group"},
            **extra,
        }
        if text is not None:
            message["text"] = text
        self._theirs[self._message_id] = int(message["chat"]["id"])
        await self.push(message=message)
        return int(message["message_id"])

    async def press(self, message_id: int, data: str, *, user: int = 42) -> None:
        """A person presses a button."""
        self._press_id += 1
        query = {
            "id": f"q{self._press_id}",
            "from": {"id": user, "is_bot": False, "first_name": f"User {user}"},
            "message": self.messages[message_id],
            "chat_instance": "1",
            "data": data,
        }
        await self.push(callback_query=query)

    async def push(self, **update: Any) -> int:
        """Any update; returns its id."""
        self._update_id += 1
        self.last_update = {"update_id": self._update_id, **update}
        self._updates.append(self.last_update)
        await self._notify()
        return self._update_id

    async def push_again(self, update: Mapping[str, Any]) -> None:
        """The same content once more under a new update id, as happens after a lost confirmation."""
        await self.push(**{key: value for key, value in update.items() if key != "update_id"})

    def fault(self, method: str, kind: str, value: Any = None, times: int = 1, pass_by: int = 0) -> None:
        """Let the next requests of ``method`` fail; see :class:`Fault`. A kill comes before any other fault."""
        place = 0 if kind in KILLS else len(self.faults)
        self.faults.insert(place, Fault(method.lower(), kind, value, times, pass_by))

    def texts(self, chat: int = 42) -> list[str]:
        """What this chat shows from the bot now, oldest first, placeholders left out."""
        shown = [m for m in self.messages.values() if m["chat"]["id"] == chat]
        return [m["text"] for m in shown if m.get("text", "…") != "…"]

    async def wait_for(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until ``condition`` holds; raises ``TimeoutError``."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def wait_text(self, part: str, *, chat: int = 42, seconds: float = 10.0) -> dict[str, Any]:
        """The first message of the bot in ``chat`` whose text has ``part`` in it, once there is one."""

        def found() -> list[dict[str, Any]]:
            return [m for m in self.messages.values() if m["chat"]["id"] == chat and part in m.get("text", "")]

        await self.wait_for(lambda: bool(found()), seconds)
        return found()[0]

    def called(self, method: str) -> list[dict[str, Any]]:
        """Parameters of every request of ``method`` so far."""
        return [params for name, params in self.calls if name == method.lower()]

    # --- HTTP --------------------------------------------------------------------------------------------------------
    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._connections.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        _, target, _ = first.split(" ", 2)
        parts = urlsplit(target)
        params = dict(parse_qsl(parts.query, keep_blank_values=True)) | _parameters(headers, body)
        gone = asyncio.get_running_loop().create_task(reader.read(1)) if parts.path.endswith("getUpdates") else None
        try:
            answer = await self._answer(parts.path, params, gone)
        finally:
            if gone is not None:
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone
        if answer.status == 0:
            writer.transport.abort()
            return False
        payload = json.dumps(answer.body).encode() if answer.body else b"<html>Bad Gateway</html>"
        top = f"HTTP/1.1 {answer.status} X\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        writer.write(top.encode() + payload)
        await writer.drain()
        return True

    async def _answer(self, path: str, params: dict[str, Any], gone: asyncio.Task[bytes] | None) -> Answer:
        if path.startswith("/control/"):
            return Answer(200, await self._control(path.removeprefix("/control/"), params))
        found = re.fullmatch(r"/bot([^/]+)/(\w+)", path)
        if found is None:
            return Answer(404, {"ok": False, "error_code": 404, "description": "Not Found"})
        if found[1] != self.token:
            return Answer(401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
        method = found[2].lower()
        self.calls.append((method, params))
        await self._notify()
        fault = self._take_fault(method)
        early = await _fail_early(fault)
        if early is not None:
            await self._notify()
            return early
        handler = getattr(self, f"_m_{method}", None)
        try:
            if handler is None:
                raise BotApiError(404, "Not Found")
            result = await (handler(params, gone) if method == "getupdates" else handler(params))
        except BotApiError as error:
            return error.answer
        if method in VISIBLE:
            self._write_log(method, params, result)
        await self._notify()
        if fault and fault.kind == "late":
            await asyncio.sleep(float(fault.value))
        if fault and fault.kind == "kill_after":
            _kill(fault)
        return (
            Answer(0)
            if fault and fault.kind in {"drop_after", "kill_after"}
            else Answer(200, {"ok": True, "result": result})
        )

    def _take_fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method in {method, "*"}:
                if fault.pass_by > 0:
                    fault.pass_by -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _write_log(self, method: str, params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        if self._log is None:
            return
        line = {"t": time.time(), "method": method, "message_id": result["message_id"], "chat": result["chat"]["id"]}
        line |= {"text": result.get("text", result.get("caption", "")), "buttons": params.get("reply_markup")}
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    async def _control(self, what: str, params: dict[str, Any]) -> dict[str, Any]:
        if what == "say":
            return {"message_id": await self.say(**params)}
        if what == "press":
            await self.press(**params)
        elif what == "fault":
            self.fault(**params)
        elif what == "spare":
            self.faults = [fault for fault in self.faults if fault.kind not in KILLS]
        return {
            "ok": True,
            "messages": list(self.messages.values()),
            "waiting": len(self._updates),
            "commands": self.commands,
            "polls": len(self.called("getUpdates")),
            "calls": len(self.calls),
        }

    # --- methods -----------------------------------------------------------------------------------------------------
    async def _m_getme(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {**BOT, "can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": False}

    async def _m_getupdates(self, params: Mapping[str, Any], gone: asyncio.Task[bytes] | None) -> list[dict[str, Any]]:
        offset = int(params.get("offset") or 0)
        if self._pollers:
            raise BotApiError(409, "Conflict: terminated by other getUpdates request; make sure that only one bot runs")
        self._updates = [update for update in self._updates if update["update_id"] >= offset]
        self._pollers += 1
        end = time.monotonic() + float(params.get("timeout") or 0)
        try:
            while not self._updates and time.monotonic() < end and not (gone and gone.done()):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05), self._changed:
                        await self._changed.wait()
            return self._updates[: int(params.get("limit") or 100)]
        finally:
            self._pollers -= 1

    async def _m_sendmessage(self, params: Mapping[str, Any]) -> dict[str, Any]:
        text = _checked(params)
        return self._new(params, text=text)

    async def _m_editmessagetext(self, params: Mapping[str, Any]) -> dict[str, Any]:
        number, chat = int(params["message_id"]), int(params["chat_id"])
        if self._theirs.get(number) == chat:
            raise BotApiError(400, "Bad Request: message can't be edited")
        message = self.messages.get(number)
        if message is None or message["chat"]["id"] != chat:
            raise BotApiError(400, "Bad Request: message to edit not found")
        if "text" not in message:
            raise BotApiError(400, "Bad Request: there is no text in the message to edit")
        text, markup = _checked(params), params.get("reply_markup")
        if (text, markup) == (message.get("text"), message.get("reply_markup")):
            raise BotApiError(400, "Bad Request: message is not modified: specified new message content is the same")
        message.pop("reply_markup", None)
        message |= {"text": text, "edit_date": int(time.time())} | ({"reply_markup": markup} if markup else {})
        return message

    async def _m_sendphoto(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if len(str(params.get("caption") or "")) > 1024:
            raise BotApiError(400, "Bad Request: message caption is too long")
        photo = [{"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1, "file_size": params.get("photo", 0)}]
        return self._new(params, photo=photo, caption=params.get("caption") or "")

    async def _m_sendchataction(self, params: Mapping[str, Any]) -> bool:
        if self._log is not None:
            with typing_log(self._log).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"t": time.time(), "chat": int(params["chat_id"])}) + "\n")
        return True

    async def _m_answercallbackquery(self, _: Mapping[str, Any]) -> bool:
        return True

    async def _m_deletewebhook(self, _: Mapping[str, Any]) -> bool:
        return True

    async def _m_setmycommands(self, params: Mapping[str, Any]) -> bool:
        self.commands = params["commands"]
        return True

    async def _m_getmycommands(self, _: Mapping[str, Any]) -> list[dict[str, str]]:
        return self.commands

    def _new(self, params: Mapping[str, Any], **content: Any) -> dict[str, Any]:
        self._message_id += 1
        message: dict[str, Any] = {
            "message_id": self._message_id,
            "date": int(time.time()),
            "from": BOT,
            "chat": {"id": int(params["chat_id"]), "type": "private"},
            **content,
        }
        if params.get("reply_markup"):
            message["reply_markup"] = params["reply_markup"]
        self.messages[self._message_id] = message
        return message


def _kill(fault: Fault) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.kill(int(fault.value), signal.SIGKILL)


async def _fail_early(fault: Fault | None) -> Answer | None:
    if fault is None or fault.kind in {"drop_after", "late", "kill_after"}:
        return None
    if fault.kind == "kill_before":
        _kill(fault)
        return Answer(0)
    if fault.kind == "slow":
        await asyncio.sleep(float(fault.value))
        return None
    if fault.kind == "drop_before":
        return Answer(0)
    if fault.kind == "502":
        return Answer(502)
    code = int(fault.kind)
    if code == 429:
        return BotApiError(429, f"Too Many Requests: retry after {fault.value}", retry_after=fault.value).answer
    return BotApiError(code, str(fault.value or "Conflict: terminated by other getUpdates request")).answer


def _parameters(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    kind = headers.get("content-type", "")
    if not body:
        return {}
    if kind.startswith("application/json"):
        return dict(json.loads(body))
    if kind.startswith("multipart/form-data"):
        parsed = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        params: dict[str, Any] = {}
        for part in parsed.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            params[name] = len(content) if part.get_filename() else content.decode()
    else:
        params = dict(parse_qsl(body.decode(), keep_blank_values=True))
    for name in ("reply_markup", "commands"):
        if isinstance(params.get(name), str):
            params[name] = json.loads(params[name])
    return params


def _checked(params: Mapping[str, Any]) -> str:
    """The text as people see it, after the checks of the real server."""
    text = str(params.get("text") or "")
    if params.get("parse_mode") == "HTML":
        if text.count("<b>") != text.count("</b>") or re.search(r"<(?!/?(?:b|i|pre|code)>)", text):
            raise BotApiError(400, "Bad Request: can't parse entities: Unsupported start tag")
        text = html.unescape(_TAG.sub("", text))
    if not text.strip():
        raise BotApiError(400, "Bad Request: message text is empty")
    if len(text.encode("utf-16-le")) // 2 > 4096:
        raise BotApiError(400, "Bad Request: message is too long")
    for row in (params.get("reply_markup") or {}).get("inline_keyboard", []):
        if any(not 1 <= len(button.get("callback_data", "").encode()) <= 64 for button in row):
            raise BotApiError(400, "Bad Request: BUTTON_DATA_INVALID")
    return text


def typing_log(log: Path) -> Path:
    """Where a server with this ``log`` notes each time that *typing* was shown."""
    return log.with_name(f"{log.stem}.typing{log.suffix}")


def final_texts(log: Path) -> list[tuple[int, str]]:
    """The judge: what each message of the bot says at the end, in the order in which it came to say so."""
    last: dict[int, str] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if last.get(entry["message_id"]) != entry["text"]:
            last.pop(entry["message_id"], None)
            last[entry["message_id"]] = entry["text"]
    return list(last.items())


async def serve(port: int, log: Path | None, token: str) -> None:
    """Serve until the process is ended."""
    async with FakeTelegram(token=token, log=log, port=port) as server:
        sys.stdout.write(json.dumps({"url": server.url, "token": token}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Command line of the server."""
    parser = argparse.ArgumentParser(description="A Bot API server for tests and demonstrations, on loopback.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--log", type=Path, help="append-only log (JSON lines) of what was accepted")
    parser.add_argument("--token", default=TOKEN)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, options.log, options.token))


if __name__ == "__main__":
    main()

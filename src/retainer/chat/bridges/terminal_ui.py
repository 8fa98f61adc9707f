"""The chat on a terminal: a prompt that is there at once, replies that grow above it, and a status line below."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from retainer.chat.bridges.terminal import ATTENTION, Attending, Growing, Item, Opened, Shown, TerminalClient
from retainer.chat.bridges.terminal_view import TerminalStatus, live, render, status_line
from retainer.core.errors import RetainerError
from retainer.core.protocols import Button

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.output import Output

_THINKING = "▁▃▅▃"
_LEAVE = frozenset({"/quit", "/exit", "quit", "exit"})
_log = structlog.get_logger(__name__)


class TerminalUI:
    """One interactive session. Leave with Ctrl-D, Ctrl-C on an empty line, ``quit`` or ``exit``."""

    def __init__(
        self,
        client: TerminalClient,
        *,
        status: Callable[[], TerminalStatus] = TerminalStatus,
        history: Sequence[str] = (),
        welcome: str = "",
        input_: Input | None = None,
        output: Output | None = None,
        tick: float = 1.0,
    ) -> None:
        """``status`` is asked every ``tick`` seconds and must be cheap; ``history``: what the arrow keys bring back."""
        self._client = client
        self._status_source = status
        self._history = history
        self._welcome = welcome
        self._tick = tick
        self._input = input_
        self._output = output
        self._status = TerminalStatus()
        self._growing: dict[str, str] = {}
        self._cards: dict[str, tuple[Button, ...]] = {}
        self._said: set[str] = set()
        self._attended_until = 0.0
        self._beat = 0
        self._session: PromptSession[str] | None = None

    async def run(self) -> None:
        """Chat until the person leaves."""
        from prompt_toolkit.patch_stdout import patch_stdout

        self._session = self._make_session()
        with patch_stdout(raw=True):
            if self._welcome:
                self._print(self._welcome + "\n")
            tasks = [asyncio.ensure_future(self._show_items()), asyncio.ensure_future(self._keep_status())]
            try:
                # Raw between two prompts too: a terminal in line mode would swallow a Ctrl-D that is typed there.
                with self._session.input.raw_mode():
                    await self._read_lines(self._session)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    # --- reading -----------------------------------------------------------------------------------------------------
    async def _read_lines(self, session: PromptSession[str]) -> None:
        while True:
            try:
                line = await session.prompt_async(self._prompt, bottom_toolbar=self._toolbar)
            except (EOFError, KeyboardInterrupt):
                return
            text = line.strip()
            if text.casefold() in _LEAVE:
                return
            if text:
                await self._take(text)

    async def _take(self, text: str) -> None:
        try:
            chosen = self._choice(text)
            if chosen is not None:
                await self._client.press(chosen)
            else:
                await self._client.say(text)
        except (RetainerError, TimeoutError) as error:
            self._print(f"\x1b[31m{str(error) or 'The service does not answer.'}\x1b[0m\n")

    def _choice(self, text: str) -> str | None:
        """The button that a typed number stands for: of the newest card that still waits."""
        if not text.isdecimal() or not self._cards:
            return None
        buttons = self._cards[next(reversed(self._cards))]
        number = int(text)
        return buttons[number - 1].data if 1 <= number <= len(buttons) else None

    # --- showing -----------------------------------------------------------------------------------------------------
    async def _show_items(self) -> None:
        try:
            async for item in self._client.items():
                self._take_item(item)
        except RetainerError as error:
            self._print(f"\x1b[31m{error}\x1b[0m\n")

    def _take_item(self, item: Item) -> None:
        if isinstance(item, Opened):
            self._growing.setdefault(item.ref, "")
        elif isinstance(item, Growing):
            self._growing[item.ref] = item.text
        elif isinstance(item, Attending):
            self._attended_until = asyncio.get_running_loop().time() + ATTENTION
        else:
            self._show(item)
        self._redraw()

    def _show(self, item: Shown) -> None:
        self._attended_until = 0.0
        self._growing.pop(item.key, None)
        self._growing.pop(item.ref, None)
        self._cards.pop(item.ref, None)
        changed = item.ref in self._said
        self._said.add(item.ref)
        if item.message.buttons:
            self._cards[item.ref] = item.message.buttons
        self._print(render(item.message, self._width(), changed=changed) + "\n")

    async def _keep_status(self) -> None:
        while True:
            status = self._status_source()
            thinking = self._attended() or any(not text for text in self._growing.values())
            self._beat += 1
            if status != self._status or thinking:
                self._status = status
                self._redraw()
            await asyncio.sleep(min(self._tick, 0.25) if thinking else self._tick)

    def _attended(self) -> bool:
        return asyncio.get_running_loop().time() < self._attended_until

    def _prompt(self) -> StyleAndTextTuples:
        """The prompt, with what is being said above it."""
        shown: StyleAndTextTuples = []
        entered = self._session is not None and self._session.app.is_done
        latest = list(self._growing.values())[-1:] or ([""] if self._attended() else [])
        for text in [] if entered else latest:
            height = max(3, self._height() // 2)
            sign = _THINKING[self._beat % len(_THINKING)]
            shown.append(("", f"{live(text, self._width(), height)}\n" if text else ""))
            shown.append(("ansibrightblack", "" if text else f"{sign} …\n"))
        keys = ""
        if self._cards and not entered:
            buttons = self._cards[next(reversed(self._cards))]
            keys = f" [{'/'.join(str(number + 1) for number in range(len(buttons)))}]"
        return [*shown, ("ansicyan bold", f"you{keys} › ")]

    def _toolbar(self) -> StyleAndTextTuples:
        return list(status_line(self._status, self._width()))

    def _print(self, text: str) -> None:
        out: TextIO = sys.stdout
        out.write(text)
        out.flush()

    def _redraw(self) -> None:
        if self._session is not None and self._session.app.is_running:
            self._session.app.invalidate()

    def _width(self) -> int:
        return int(self._session.output.get_size().columns) if self._session else 80

    def _height(self) -> int:
        return int(self._session.output.get_size().rows) if self._session else 24

    # --- set-up ------------------------------------------------------------------------------------------------------
    def _make_session(self) -> PromptSession[str]:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.styles import Style

        return PromptSession(
            history=InMemoryHistory(list(self._history)),
            auto_suggest=AutoSuggestFromHistory(),
            key_bindings=_keys(),
            style=Style.from_dict({"bottom-toolbar": "noreverse bg:#262626 #bcbcbc"}),
            erase_when_done=False,
            complete_while_typing=False,
            input=self._input,
            output=self._output,
        )


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("c-c")
    def leave_or_clear(event: KeyPressEvent) -> None:
        buffer: Any = event.current_buffer
        if buffer.text:
            buffer.reset()
        else:
            event.app.exit(exception=EOFError())

    return keys

"""The settings in force in a conversation, and the updates on their way to be.

    ask -> waiting -> checked -> prompts encoded -> in force, answered

One after the other, beside the drawing: windows go on as they were while a prompt is encoded.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from server.animation.defaults import GenerationSettings
from server.animation.generation import Direction
from server.errors import AvatarError, InvalidFieldError, LimitError
from server.sessions.jobs import Offer
from server.sessions.stating import Stated, with_steps, with_update
from server.triton.engine import Priority

MAX_WAITING_UPDATES = 16
MAX_UPDATE_ID_BYTES = 128

Make = Callable[[GenerationSettings, Priority], Awaitable[Direction]]
"""Returns what windows of some settings are made with."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a client wants changed; ``field`` is what its front end calls it."""

    update_id: str
    stated: Stated
    field: str


AnswerUpdate = Callable[[Update, GenerationSettings | AvatarError], None]
"""Says which settings an update has put in force, or why it has changed nothing."""


class Updates:
    """Has what windows are made with, from the opening of a conversation to its end."""

    def __init__(
        self, settings: GenerationSettings, offer: Offer, make: Make, answer: AnswerUpdate
    ) -> None:
        """Begins with the settings of the opening; `settle` gets them ready."""
        self._settings = self._drawn = settings
        self._most_steps = settings.steps
        self._offer = offer
        self._make = make
        self._answer = answer
        self._direction: Direction | None = None
        self._waiting: deque[Update] = deque()
        self._changed = asyncio.Event()
        # The settings of the opening count as one.
        self._asked, self._settled = 1, 0

    @property
    def settings(self) -> GenerationSettings:
        """The settings in force."""
        return self._settings

    @property
    def drawn(self) -> GenerationSettings:
        """The settings that `direction` stands for: those in force, or with fewer steps."""
        return self._drawn

    @property
    def most_steps(self) -> int:
        """The most steps that windows are to be made with, once what is on its way is settled."""
        return self._most_steps

    @property
    def direction(self) -> Direction:
        """What a window that begins now is made with; there once anything is settled."""
        if self._direction is None:
            raise RuntimeError("nothing is settled yet; wait for `settled` first")
        return self._direction

    @property
    def is_waiting(self) -> bool:
        """Whether an update has no answer yet."""
        return bool(self._waiting)

    def ask(self, update: Update) -> None:
        """Takes an update, which is answered in its turn, or at once if it cannot wait."""
        if len(update.update_id.encode()) > MAX_UPDATE_ID_BYTES:
            problem = f"is longer than {MAX_UPDATE_ID_BYTES} bytes"
            error = InvalidFieldError(f"{update.field}.update_id", problem)
            self._answer(replace(update, update_id=""), error)
        elif len(self._waiting) >= MAX_WAITING_UPDATES:
            problem = f"{MAX_WAITING_UPDATES} updates have no answer yet; wait for one"
            self._answer(update, LimitError("max_waiting_updates", problem))
        else:
            self._asked += 1
            self._waiting.append(update)
            self._changed.set()

    def take_steps(self, most: int) -> None:
        """Has windows made with no more than so many steps, until an update changes the steps."""
        self._most_steps = most
        self._changed.set()

    async def settle(self) -> None:
        """Gets the settings of the opening ready, then settles updates until it is cancelled."""
        self._direction = await self._make(self._settings, Priority.FIRST_FRAME)
        self._count()
        while True:
            await self._until(lambda: self.is_waiting or self._wanted != self._drawn)
            if self.is_waiting:
                await self._settle(self._waiting[0])
                self._waiting.popleft()
                self._count()
            else:
                await self._step_down_or_up()

    async def settled(self) -> None:
        """Waits until whatever has been asked for by now is in force or refused."""
        asked = self._asked
        await self._until(lambda: self._settled >= asked)

    async def _settle(self, update: Update) -> None:
        try:
            field = f"{update.field}.generation"
            settings = with_update(self._settings, update.stated, self._offer, field)
            is_same = settings.steps == self._settings.steps
            most_steps = self._most_steps if is_same else settings.steps
            drawn = with_steps(settings, most_steps)
            direction = await self._make(drawn, Priority.NORMAL)
        except AvatarError as error:
            self._answer(update, error)
        else:
            self._settings, self._drawn, self._direction = settings, drawn, direction
            if not is_same:
                self._most_steps = most_steps
            self._answer(update, settings)

    @property
    def _wanted(self) -> GenerationSettings:
        return with_steps(self._settings, self._most_steps)

    async def _step_down_or_up(self) -> None:
        wanted = self._wanted
        try:
            self._direction = await self._make(wanted, Priority.NORMAL)
        except AvatarError:
            # What is wrong ends the windows, if it lasts; steps are as good as they were.
            self._most_steps = self._drawn.steps
        else:
            self._drawn = wanted

    def _count(self) -> None:
        self._settled += 1
        self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

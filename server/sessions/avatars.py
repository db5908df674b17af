"""Portraits prepared once, for many streams: whose they are, and how long they are kept."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager

from server.access.caller import Caller
from server.errors import AvatarNotFoundError, LimitError
from server.notices import Notice
from server.sessions.avatar_folder import AvatarFolder
from server.sessions.jobs import Offer
from server.sessions.prepared import Prepared
from server.sessions.sitter import Avatar, Sitter

Prepare = Callable[[Sitter, tuple[int, int]], Awaitable[Prepared]]


class Avatars:
    """Keeps avatars, so many in all and of each caller, until they have not been used for long.

    With a folder they are kept there, and what is prepared of them is only remembered here.
    """

    def __init__(
        self, offer: Offer, prepare: Prepare, now: Callable[[], float] = time.time
    ) -> None:
        """Begins with those of the folder, if there is one.

        Args:
            offer: the limits, the folder, and the sizes that there are.
            prepare: prepares a portrait for a size.
            now: seconds since 1970.
        """
        settings = offer.settings
        self._max = settings.max_avatars
        self._max_per_caller = settings.avatars_per_caller
        self._lifetime_s = settings.avatar_lifetime_s
        self._sizes = offer.sizes
        self._prepare = prepare
        self._now = now
        self._folder = AvatarFolder(settings.avatar_folder) if settings.avatar_folder else None
        self._looking = asyncio.Lock()
        """Held while what is kept is compared with what is in the folder, or changes."""
        self._kept: dict[str, Avatar] = {}
        self._used_s: dict[str, float] = {}
        self._prepared: dict[str, Prepared] = {}
        self._ignored: set[str] = set()
        """Ids in the folder that cannot be read, or are of a size that there is not."""
        self._creating: Counter[str] = Counter()
        """By owner."""

    @property
    def count(self) -> int:
        """How many are kept, as far as is known without looking."""
        return len(self._kept)

    def places_of(self, caller: Caller) -> int:
        """Returns how many are kept of a caller: their own limit, or else the common one."""
        own = self._max_per_caller if caller.max_avatars is None else caller.max_avatars
        return min(own, self._max)

    def expires_s(self, avatar: Avatar) -> float:
        """Returns when an avatar is forgotten unless it is used, in seconds since 1970."""
        return self._used_s[avatar.avatar_id] + self._lifetime_s

    async def create(
        self, caller: Caller, sitter: Sitter, frame_px: tuple[int, int]
    ) -> tuple[Avatar, Sequence[Notice]]:
        """Prepares a portrait, and returns what could be better about it as well.

        Raises:
            LimitError: too many are kept.
            InvalidFieldError: it is no usable picture.
            EngineUnavailableError, ExecutionError: a network cannot be run now.
        """
        await self._refresh()
        with self._room(caller):
            prepared = await self._prepare(sitter, frame_px)
            notices = (*prepared.notices, *await prepared.judge())
            avatar = Avatar(secrets.token_urlsafe(16), caller.name, frame_px, self._now())
            async with self._looking:
                if self._folder:
                    await asyncio.to_thread(self._folder.save, avatar, sitter)
                self._keep(avatar, avatar.created_s)
            self._prepared[avatar.avatar_id] = prepared.for_stream()
        return avatar, notices

    async def find(self, caller: Caller, avatar_id: str, *, field: str) -> Avatar:
        """Returns a caller's avatar.

        Args:
            caller: whose it must be.
            avatar_id: which.
            field: what the client calls it.

        Raises:
            AvatarNotFoundError: the caller has none of that id.
        """
        await self._refresh()
        avatar = self._kept.get(avatar_id)
        if avatar is None or avatar.owner != caller.name:
            raise AvatarNotFoundError(field)
        return avatar

    async def of(self, caller: Caller) -> list[Avatar]:
        """Returns a caller's avatars, the oldest first."""
        await self._refresh()
        own = [avatar for avatar in self._kept.values() if avatar.owner == caller.name]
        return sorted(own, key=lambda avatar: (avatar.created_s, avatar.avatar_id))

    async def prepared(self, avatar: Avatar) -> Prepared:
        """Returns what a stream of an avatar begins with; this is a use of it.

        Raises:
            AvatarNotFoundError: it has been forgotten meanwhile.
            EngineUnavailableError, ExecutionError: a network cannot be run now.
        """
        prepared = self._prepared.get(avatar.avatar_id) or await self._prepare_again(avatar)
        if avatar.avatar_id in self._kept:
            self._used_s[avatar.avatar_id] = self._now()
        if self._folder:
            await asyncio.to_thread(self._folder.used, avatar.avatar_id, self._now())
        return prepared.for_stream()

    async def delete(self, avatar: Avatar) -> None:
        """Forgets an avatar."""
        async with self._looking:
            await self._delete(avatar.avatar_id)

    async def _prepare_again(self, avatar: Avatar) -> Prepared:
        sitter = await asyncio.to_thread(self._folder.sitter, avatar) if self._folder else None
        if sitter is None:
            raise AvatarNotFoundError("avatar_id")
        prepared = (await self._prepare(sitter, avatar.size)).for_stream()
        if avatar.avatar_id in self._kept:
            self._prepared[avatar.avatar_id] = prepared
        return prepared

    @contextmanager
    def _room(self, caller: Caller) -> Generator[None]:
        owner, most = caller.name, self.places_of(caller)
        own = sum(avatar.owner == owner for avatar in self._kept.values())
        if own + self._creating[owner] >= most:
            problem = (
                f"{most} avatars of yours are kept already; delete one"
                if most
                else "none are kept for you; send the portrait itself"
            )
            raise LimitError("max_avatars_per_caller", problem)
        if len(self._kept) + self._creating.total() >= self._max:
            problem = (
                f"{self._max} avatars are kept already; delete one, or send the portrait itself"
            )
            raise LimitError("max_avatars", problem)
        self._creating[owner] += 1
        try:
            yield
        finally:
            self._creating -= Counter((owner,))

    async def _refresh(self) -> None:
        """Forgets what has expired, or has gone from the folder, and learns what is new in it."""
        async with self._looking:
            if self._folder:
                await self._look_into(self._folder)
            for avatar in list(self._kept.values()):
                if self.expires_s(avatar) <= self._now():
                    await self._delete(avatar.avatar_id)

    async def _look_into(self, folder: AvatarFolder) -> None:
        # Other gateways use what is in it, and it may be on a disk far away.
        used_s = await asyncio.to_thread(folder.used_s)
        self._ignored &= used_s.keys()
        for avatar_id in self._kept.keys() - used_s.keys():
            self._forget(avatar_id)
        for avatar_id in used_s.keys() - self._kept.keys() - self._ignored:
            avatar = await asyncio.to_thread(folder.load, avatar_id)
            if avatar is not None and avatar.size in self._sizes:
                self._keep(avatar, used_s[avatar_id])
            else:
                self._ignored.add(avatar_id)
        self._used_s = {avatar_id: used_s[avatar_id] for avatar_id in self._kept}

    async def _delete(self, avatar_id: str) -> None:
        if self._folder:
            await asyncio.to_thread(self._folder.remove, avatar_id)
        if avatar_id in self._kept:
            self._forget(avatar_id)

    def _keep(self, avatar: Avatar, used_s: float) -> None:
        self._kept[avatar.avatar_id] = avatar
        self._used_s[avatar.avatar_id] = used_s

    def _forget(self, avatar_id: str) -> None:
        del self._kept[avatar_id], self._used_s[avatar_id]
        self._prepared.pop(avatar_id, None)

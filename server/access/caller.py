"""Who calls, and what they may ask for."""

from dataclasses import dataclass
from typing import Literal, get_args

Permission = Literal["animate", "render", "portraits", "info"]
PERMISSIONS: frozenset[Permission] = frozenset(get_args(Permission))

METHODS: dict[str, Permission] = {
    "Animate": "animate",
    "ModelStreamInfer": "animate",
    "WebSocket /v1/stream": "animate",
    "POST /v1/speech": "animate",
    "Render": "render",
    "POST /render": "render",
    "POST /v1/animate": "render",
    "CheckPortrait": "portraits",
    "POST /v1/portraits/check": "portraits",
    "CreateAvatar": "portraits",
    "GetAvatar": "portraits",
    "ListAvatars": "portraits",
    "DeleteAvatar": "portraits",
    "POST /v1/avatars": "portraits",
    "GET /v1/avatars": "portraits",
    "GET /v1/avatars/{avatar_id}": "portraits",
    "DELETE /v1/avatars/{avatar_id}": "portraits",
}
"""What a method takes a permission for, as the log names it; all others tell what the server is."""


@dataclass(frozen=True)
class Caller:
    """Whom a call is of."""

    name: str
    """What limits for one caller count for, and the log says."""
    permissions: frozenset[Permission] = PERMISSIONS
    max_streams: int | None = None
    """Streams and renders at once, if the caller has a limit of their own."""
    max_avatars: int | None = None
    """Prepared portraits kept for them, likewise."""
    is_named: bool = True
    """Whether they have said who they are; else the name is their address."""

    def may(self, method: str) -> bool:
        """Tells whether a method may be called."""
        return METHODS.get(method, "info") in self.permissions

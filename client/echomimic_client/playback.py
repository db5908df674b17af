"""When a player may start."""

from collections.abc import Iterable


def playable_latency_s(arrivals: Iterable[tuple[float, float]]) -> float:
    """Returns the smallest delay after which playback never waits for a frame.

    A player that shows the frame of presentation time p at the moment start + p has it by then if
    the start is no earlier than its arrival - p, for every frame.

    Args:
        arrivals: (arrival, presentation time) of each frame, in seconds; arrivals from the first
            audio sent.

    Raises:
        ValueError: there are no frames.
    """
    return max(arrival_s - pts_s for arrival_s, pts_s in arrivals)

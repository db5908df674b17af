"""Who is animated: the portrait at output size, and where in it speech acts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from server.animation.condition import Conditioner
from server.arrays import FloatArray
from server.errors import InvalidFieldError
from server.notices import Notice
from server.pictures.face import (
    FaceBox,
    at_least_one_token,
    everywhere,
    face_mask,
    find_face,
    is_shown,
)
from server.pictures.framing import framed
from server.pictures.portrait import (
    RECOMMENDED_SIDE_PX,
    Picture,
    Placement,
    crop_notices,
    read_portrait,
    whole,
)
from server.sessions.jobs import Offer
from server.sessions.judging import Judging
from server.sessions.sitter import Sitter
from server.triton.engine import Engine, Priority


@dataclass(frozen=True, slots=True)
class Prepared:
    """A portrait, ready.

    Attributes:
        picture: at output size.
        face_mask: where audio acts, [height / 16, width / 16].
        notices: what could be better about it.
        conditioner: encodes it, and keeps what this stream uses.
        judge: finds out beside everything else what more is to be told of it; raises
            `InvalidFieldError` where that is too much.
    """

    picture: Picture
    face_mask: FloatArray
    notices: tuple[Notice, ...]
    conditioner: Conditioner
    judge: Callable[[], Awaitable[Sequence[Notice]]]

    def for_stream(self) -> "Prepared":
        """Returns the same for another stream, which is told nothing more of the portrait."""
        conditioner = self.conditioner.for_stream()
        return replace(self, notices=(), conditioner=conditioner, judge=_nothing)


async def prepare(
    engine: Engine,
    conditioner: Conditioner,
    offer: Offer,
    sitter: Sitter,
    frame_px: tuple[int, int],
    *,
    uncropped: bool = False,
    masks: bool = True,
) -> Prepared:
    """Decodes a portrait, and finds the face in it if the variant needs it.

    Args:
        engine: looks for faces.
        conditioner: encodes the portrait later.
        offer: what the server has.
        sitter: who is to be animated.
        frame_px: width and height of the frames to come.
        uncropped: whether all of the portrait is shown, at about that size, as the authors do.
        masks: whether speech acts on the face alone, where one is known.

    Raises:
        InvalidFieldError: it is no usable picture, or one that warnings make unusable.
        EngineUnavailableError, ExecutionError: what looks for faces cannot be run now.
    """
    portrait = await asyncio.to_thread(
        read_portrait,
        sitter.data,
        max_pixels=offer.settings.max_portrait_pixels,
        field=sitter.field,
    )
    image, box = portrait.image, sitter.face_box
    looks = offer.manifest.variant == "preview" and box is None
    if looks:
        box = await find_face(engine, image, Priority.FIRST_FRAME)
    judging = Judging(engine, offer, sitter, image)
    if uncropped:
        shown, on_face = (0.0, 0.0, float(image.width), float(image.height)), True
    else:
        shown, on_face = await judging.shown(frame_px)
    place = partial(framed, image, shown, frame_px)
    if uncropped:
        place = partial(whole, image, frame_px, offer.manifest.variant, field=sitter.field)
    picture, placement = await asyncio.to_thread(place)
    if box is not None and not is_shown(box, placement):
        if not looks:
            raise _box_not_shown(sitter, image.size, placement)
        box = None
    notices = portrait.notices + _size_notices(image.size)
    if not on_face:
        notices += crop_notices(image.size, placement)
    if looks and box is None:
        notices += (FACE_NOT_FOUND,)
    told = {notice.reason for notice in notices}
    if sitter.strict:
        await judging.notices(shown)
    return Prepared(
        picture,
        _mask(box if masks else None, placement, grows=not uncropped),
        notices,
        conditioner,
        partial(judging.notices, shown, told),
    )


async def _nothing() -> Sequence[Notice]:
    return ()


FACE_NOT_FOUND = Notice(
    "FACE_NOT_FOUND", "no face was found, so speech acts on the whole picture; send `face_box`"
)


def _size_notices(portrait_px: tuple[int, int]) -> tuple[Notice, ...]:
    width, height = portrait_px
    if min(width, height) >= RECOMMENDED_SIDE_PX:
        return ()
    wanted = f"{RECOMMENDED_SIDE_PX} x {RECOMMENDED_SIDE_PX}"
    message = f"the portrait has {width} x {height} pixels; at least {wanted} looks better"
    return (Notice("PORTRAIT_SMALL", message),)


def _box_not_shown(
    sitter: Sitter, portrait_px: tuple[int, int], placement: Placement
) -> InvalidFieldError:
    field = sitter.beside("face_box")
    (width, height), shown = portrait_px, f"{placement.width} x {placement.height}"
    return InvalidFieldError(
        field,
        f"lies outside what is shown of the portrait, which has {width} x {height} pixels, at "
        f"{shown}; send the box in pixels of the portrait, or a portrait cropped to that shape",
    )


def _mask(box: FaceBox | None, placement: Placement, *, grows: bool) -> FloatArray:
    if box is None:
        return everywhere(placement.width, placement.height)
    mask = face_mask(box, placement)
    return at_least_one_token(mask, box, placement) if grows else mask

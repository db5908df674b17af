"""Who is animated: the portrait at output size, and where in it speech acts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from server.animation.condition import Conditioner
from server.animation.guidance import UNGUIDED
from server.animation.variant import guidance
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
from server.pictures.face_finder import Box
from server.pictures.framing import framed
from server.pictures.portrait import (
    RECOMMENDED_SIDE_PX,
    Picture,
    Placement,
    crop_notices,
    read_portrait,
    whole,
)
from server.sessions.jobs import Job, Offer
from server.sessions.judging import Judging
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


async def prepare(engine: Engine, conditioner: Conditioner, offer: Offer, job: Job) -> Prepared:
    """Decodes a job's portrait, and finds the face in it if the variant needs it.

    Raises:
        InvalidFieldError: it is no usable picture, or one that warnings make unusable.
        EngineUnavailableError, ExecutionError: what looks for faces cannot be run now.
    """
    portrait = await asyncio.to_thread(
        read_portrait,
        job.portrait,
        max_pixels=offer.settings.max_portrait_pixels,
        field=job.portrait_field,
    )
    image, box = portrait.image, job.face_box
    looks = offer.manifest.variant == "preview" and box is None
    if looks:
        box = await find_face(engine, image, Priority.FIRST_FRAME)
    sitter = job.sitter
    judging = Judging(engine, offer, sitter, image)
    if job.exact is not None:
        shown, on_face = (0.0, 0.0, float(image.width), float(image.height)), True
    else:
        shown, on_face = await judging.shown(job.video_format.size)
    picture, placement = await asyncio.to_thread(_placed, image, shown, job, offer)
    if box is not None and not is_shown(box, placement):
        if not looks:
            raise _box_not_shown(job, image.size, placement)
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
        _mask(job, box, placement),
        notices,
        conditioner,
        partial(judging.notices, shown, told),
    )


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


def _placed(image: Image.Image, shown: Box, job: Job, offer: Offer) -> tuple[Picture, Placement]:
    size = job.video_format.size
    if job.exact is None:
        return framed(image, shown, size)
    return whole(image, size, offer.manifest.variant, field=job.portrait_field)


def _box_not_shown(
    job: Job, portrait_px: tuple[int, int], placement: Placement
) -> InvalidFieldError:
    field = job.sitter.beside("face_box")
    (width, height), shown = portrait_px, f"{placement.width} x {placement.height}"
    return InvalidFieldError(
        field,
        f"lies outside what is shown of the portrait, which has {width} x {height} pixels, at "
        f"{shown}; send the box in pixels of the portrait, or a portrait cropped to that shape",
    )


def _mask(job: Job, box: FaceBox | None, placement: Placement) -> FloatArray:
    # Upstream drops the mask where nothing is guided; an exact clip does too.
    unguided = job.exact is not None and guidance(job.generation).rows == UNGUIDED
    if box is None or unguided:
        return everywhere(placement.width, placement.height)
    mask = face_mask(box, placement)
    return mask if job.exact is not None else at_least_one_token(mask, box, placement)

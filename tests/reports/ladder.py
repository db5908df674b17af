"""Which ladder of windows: when the first frame comes, when playback can start, what it costs.

python -m tests.reports.ladder REPOSITORY

With `--part NAME` one part of the page is measured and the others stay as they were: `pictures`
come out the same whatever else the machine does, the others are times.
"""

import argparse
import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from client.demo.gateway_process import running_gateway
from client.demo.media import PORTRAIT, SPEECH
from echomimic_client.audio import AudioClip, read_audio
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import VideoFormat
from echomimic_client.recording import Recording, record
from server.animation.windows import SHORTEST_LAST
from server.manifest import read_manifest
from server.triton.installation import TritonInstallation
from server.triton.process import RunningTriton, start_triton
from tests.reports.lip_sync import CLIPS, GOALS, SECONDS, average, measured, row
from tests.reports.markdown import table, write
from tests.reports.stages import stages_table
from tests.support.gateway_process import TRITON_VENV
from tests.support.lip_sync import LipSync
from tests.support.onnx_engine import OnnxEngine
from tests.support.talking import SPEC, film, held_out_clip

LADDERS = {
    ",".join(map(str, ladder)): ladder
    for ladder in (
        (17, 33),
        (13, 33),
        (9, 33),
        (9, 17, 33),
        (9, 21, 33),
        (17, 25),
        (13, 25),
        (9, 25),
    )
}
LAST_WINDOWS = {str(frames): (9, 33, 33, 33, 33, frames) for frames in (9, 13, 17)}
"""A clip's last 4 frames are in windows so long."""
ROUNDS = 3
SHORT_S = 4
CHUNK_MS = 40
FOLDER = Path("build/ladder")
REST_S = "600"
"""Between trials of the Triton: those of idle gateways would slow down the busy one."""
WAYS = {
    "short": f"### {SHORT_S} s of speech",
    "long": "### All of it, 8 s",
    "at once": "### All of it at once, as from a program that speaks",
}
Takes = Mapping[str, Mapping[str, list[Recording]]]
"""What was recorded, by way of speaking and ladder."""


def takes(url: str, repository: Path) -> Takes:
    """Speaks to a gateway of every ladder, all on one Triton, again and again."""
    long = read_audio(SPEECH)
    short_bytes = SHORT_S * long.format.sample_rate_hz * long.format.bytes_per_sample
    short = AudioClip(long.format, long.data[:short_bytes])
    found: Takes = {way: {ladder: [] for ladder in LADDERS} for way in WAYS}
    with ExitStack() as stack:
        clients = {ladder: _client(stack, url, repository, ladder) for ladder in LADDERS}
        for client in clients.values():
            _speak(client, short, live=False)
        for number in range(ROUNDS):
            # There and back, so that what else the machine does falls on all of them.
            for ladder in list(LADDERS)[:: -1 if number % 2 else 1]:
                found["short"][ladder].append(_speak(clients[ladder], short, live=True))
                found["long"][ladder].append(_speak(clients[ladder], long, live=True))
                found["at once"][ladder].append(_speak(clients[ladder], long, live=False))
    return found


def _client(stack: ExitStack, url: str, repository: Path, ladder: str) -> AvatarClient:
    words = ["--window-ladder", ladder, "--triton-url", url, "--health-interval-s", REST_S]
    log = FOLDER / f"{ladder}.log"
    address = stack.enter_context(running_gateway(repository, TRITON_VENV, log, *words))
    return stack.enter_context(AvatarClient(address))


def _speak(client: AvatarClient, clip: AudioClip, *, live: bool) -> Recording:
    return record(
        client,
        PORTRAIT.read_bytes(),
        clip,
        film=None,
        live=live,
        chunk_ms=CHUNK_MS,
        video=VideoFormat("jpeg"),
        on_picture=lambda *_: None,
    )


def takes_table(found: Mapping[str, Sequence[Recording]]) -> str:
    """Returns what a way of speaking came to, in seconds, for each ladder."""
    rows: list[list[object]] = []
    for ladder, recordings in found.items():
        rows.append(
            [
                ladder,
                _spread(recordings, lambda recording: recording.first_frame_s),
                _spread(recordings, lambda recording: recording.playable_latency_s),
                _spread(recordings, lambda recording: recording.started.windows.advised_buffer_s),
                _spread(recordings, stalled_s),
                _spread(recordings, lambda recording: recording.realtime_factor),
            ]
        )
    header = ["ladder", "first frame", "playable", "advised buffer", "stalled", "real time"]
    return table(header, rows)


def _spread(recordings: Sequence[Recording], figure: Callable[[Recording], float]) -> str:
    values = [figure(recording) for recording in recordings]
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def stalled_s(recording: Recording) -> float:
    """Returns for how long a player stands still that starts when it is advised to."""
    start_s = recording.first_frame_s + recording.started.windows.advised_buffer_s
    return max(0.0, recording.playable_latency_s - start_s)


async def pictures_table(
    engine: OnnxEngine, repository: Path, name: str, ladders: Mapping[str, Sequence[int]]
) -> str:
    """Measures held-out clips under every ladder."""
    rows: list[list[object]] = []
    for title, ladder in ladders.items():
        spec = replace(SPEC, ladder=tuple(ladder))
        found: list[LipSync] = []
        for clip in (held_out_clip(index, SECONDS) for index in range(CLIPS)):
            frames = await film(engine, repository, clip.picture, clip.samples, spec=spec)
            found.append(measured(clip, frames, spec))
        mean = average(found)
        rows.append(row(title, replace(mean, lag_frames=round(mean.lag_frames))))
    return table([name, *GOALS], rows)


INTRO = """Measured on the checkpoint `{digest}`, on {cores} cores for the client, the gateway and
Triton together, with the default settings but for `--window-ladder`. Times of real weights on a GPU
are others: run it there."""
STAGES = """## What a window takes

Milliseconds unless said otherwise, medians, without a gateway. `speech` is what a window waits for:
its own, and 5 frames ahead. Its condition needs none and is encoded meanwhile, so its first frame
leaves after `speech` and the other stages: `latency`. A ladder's first window decides when the
first frame comes, and its longest one when playback can start, since the first frame of a window
waits for the speech of its last. A later window shows 5 frames less than it has: where
`all / shown` is above 1, windows of that length do not keep up with speech."""
LADDERS_TEXT = f"""## Ladders

Seconds: the median of {ROUNDS}, and the least and the greatest, ladder after ladder and back again.
`playable` is when a player may start that never waits, from the first audio sent as `first frame`
is. `stalled` is for how long one stands still that starts `advised buffer` after the first frame:
for the speech that longer windows wait for, and the time they take by the windows before. `real
time` is seconds of video a second, at the speed of speaking always below 1."""
PICTURES = f"""## Pictures

The figures of [lip-sync.md](lip-sync.md), means of its {CLIPS} clips of {SECONDS:g} s."""
LAST = f"""The last window is as long as the rest of the speech, but has {SHORTEST_LAST} frames at
least: a shorter one jumps where it begins. The same clips cut by 9,33, which leaves it 4 frames."""
CHOICE = f"""## Why {",".join(map(str, SPEC.ladder))}

Playable latency decides, of ladders that keep up with speech: with one that does not, playback has
to start later the longer somebody speaks. Playback of a short speech started a little sooner with
windows up to 25 than up to 33. But those of 25 leave the gateway and the client too little of these
cores: of what comes at once they made less than real time in most rounds, and two of the three
ladders had to start later in the longer speech. Ladders up to 33 differ less from each other than
one of them from round to round, since the last length decides. Of them those that begin with 9 show
the first frame half a second sooner than 17,33, and with a window of 17 between playback started no
later than without, whichever way one spoke. Lip sync and seams are within their goals with every
ladder.

These tenths are not exact. In a second measurement ladders up to 33 were slower by more than they
differ here and hardly kept up at once either, and 17,25 came before them in the longer speech; the
first frames, and that a window of 17 delays nothing, came out the same. So it is the room which
windows of 33 leave, by the first table, that decides.

Tensors have gone through shared memory since, and two more measurements were made, of which the
tables above know nothing. With nothing else on the machine (four ladders) playback of live speech
started after 1.9 s with 9,25 and after 2.4 s with 9,17,33, and both kept up with what comes at
once, at 1.17 and 1.30 x real time. With other programs on the same cores, not the same ones in
every round (all ladders, 8 s of speech), it started after 9.0 s (2.8 to 9.9) with 9,25 and after
4.5 s (2.6 to 8.4) with 9,17,33. What windows up to 25 gain on an idle machine is a ninth of what
they lost on a busy one, and a default has to do on both. Where the machine is left alone,
`--window-ladder 9,25` lets playback start half a second sooner, at 0.4 dB outside the mouth for
going through the VAE more often. Since then the advised buffer also allows for the time that
windows take, and known frames are held to the portrait ([drift.md](drift.md))."""
FIXED = """## Why the climb is fixed

The longest window of a ladder decides when playback can start, whatever comes before it, since its
first frame waits for the speech of its last one. So in live speech a machine of any speed is ahead
of playback by no more than the player has waited, and a rule that climbs only when frames are ahead
never would. It would pay where speech comes faster than it is spoken; but what is ahead then hangs
on what else the machine does, and with it the cut, and the same seed gave other frames each
time."""


async def stages_part(repository: Path) -> Sequence[str]:
    """Measures windows of every length, without a gateway."""
    async with _triton(repository) as triton:
        return STAGES, await stages_table(triton.grpc_url, repository)


async def ladders_part(repository: Path) -> Sequence[str]:
    """Measures streams of every ladder."""
    async with _triton(repository) as triton:
        found = await asyncio.to_thread(takes, triton.grpc_url, repository)
    return LADDERS_TEXT, *(part for way in WAYS for part in (WAYS[way], takes_table(found[way])))


async def pictures_part(repository: Path) -> Sequence[str]:
    """Measures the pictures of every ladder, and of last windows of some lengths."""
    engine = OnnxEngine(repository)
    ladders = await pictures_table(engine, repository, "ladder", LADDERS)
    last = await pictures_table(engine, repository, "last window", LAST_WINDOWS)
    return PICTURES, ladders, LAST, last


PARTS = {"stages": stages_part, "ladders": ladders_part, "pictures": pictures_part}


def _triton(repository: Path) -> AbstractAsyncContextManager[RunningTriton]:
    installation = TritonInstallation.find(TRITON_VENV)
    return start_triton(
        installation, repository, runtime_dir=FOLDER, log_path=FOLDER / "triton.log"
    )


def main(repository: Path, names: Collection[str]) -> None:
    """Measures parts on a flash repository, and writes the page once there are all of them."""
    digest = read_manifest(repository).checkpoint_digest
    kept = {name: FOLDER / f"{name}.{digest}.md" for name in PARTS}
    for name in names:
        kept[name].write_text("\n\n".join(asyncio.run(PARTS[name](repository))))
    if all(path.exists() for path in kept.values()):
        write(
            "windows.md",
            "ladder",
            "Windows: when frames come, and what it costs",
            INTRO.format(digest=digest, cores=os.cpu_count()),
            *(path.read_text() for path in kept.values()),
            CHOICE,
            FIXED,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, help="a model repository of the flash variant")
    parser.add_argument("--part", choices=PARTS, help="the only one that is measured again")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    main(arguments.repository, [arguments.part] if arguments.part else PARTS)

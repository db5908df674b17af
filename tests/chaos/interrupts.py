"""How long stale frames go on coming, over many interruptions in a row on one stream."""

from echomimic.v1 import avatar_service_pb2 as pb

from tests.chaos.history import Client, History, Received, Sent
from tests.support.gateway_process import Running
from tests.support.serving import END, chunk, speech, start

RATE_HZ = 16_000
SAID_S = 2.0
INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())


def interrupt(running: Running, count: int) -> History:
    """Speaks and interrupts while frames come, again and again; returns the client's history."""
    said = chunk(speech(round(SAID_S * RATE_HZ)).tobytes())
    client = Client(running.stub)
    client.send(start(video_format=pb.VideoFormat(encoding=pb.FRAME_ENCODING_JPEG)))
    for _ in range(count):
        came = len(client.history)
        client.send(said)
        client.wait(lambda history, came=came: _has(history, "frame", came))
        asked = len(client.history)
        client.send(INTERRUPT)
        client.wait(lambda history, asked=asked: _has(history, "interrupted", asked))
    client.send(END)
    return client.finish()


def stale_s(history: History) -> list[float]:
    """Returns how long after it was sent each interruption's last stale frame came; 0 if none."""
    found: list[float] = []
    sent_s = last_s = 0.0
    for event in history:
        match event:
            case Sent() if event.message.WhichOneof("message") == "interrupt":
                sent_s = last_s = event.at_s
            case Received() if event.message.WhichOneof("message") == "frame":
                last_s = event.at_s
            case Received() if event.message.WhichOneof("message") == "interrupted":
                found.append(last_s - sent_s)
            case _:
                continue
    return found


def answered_s(history: History) -> list[float]:
    """Returns how long after it was sent each interruption was answered."""
    sent_s = iter(
        event.at_s
        for event in history
        if isinstance(event, Sent) and event.message.WhichOneof("message") == "interrupt"
    )
    return [
        event.at_s - next(sent_s)
        for event in history
        if isinstance(event, Received) and event.message.WhichOneof("message") == "interrupted"
    ]


def _has(history: History, kind: str, since: int) -> bool:
    return any(
        isinstance(event, Received) and event.message.WhichOneof("message") == kind
        for event in history[since:]
    )

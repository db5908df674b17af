"""A small client for the EchoMimic server: one call for scripts, streams for services.

    from pathlib import Path
    from echomimic_client.audio import read_audio
    from echomimic_client.blocking import AvatarClient

    clip = read_audio(Path("speech.wav"))
    with AvatarClient("127.0.0.1:50051") as client:
        for frame in client.animate(Path("me.jpg").read_bytes(), clip.chunks(40), clip.format):
            show(frame.pts_s, frame.to_numpy())

`echomimic_client.aio.AsyncAvatarClient` is the same with ``async``.
"""

"""What the drawn faces say: speech with pauses, silence, and sounds like music."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.demo.espeak import say
from server.audio.clock import MODEL_RATE_HZ

Samples = NDArray[np.float32]

MUSIC_SHARE, SILENT_SHARE = 0.08, 0.06
NOISE_DB = (-90.0, -48.0)
"""The noise below everything, against full scale."""
QUIET = 1e-3
LOUDNESS_DB = (-30.0, -16.0)
"""Root mean square of the speech, of what is louder than QUIET, against full scale."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Speakers and what they say, a list of sentences for each language."""

    sentences: dict[str, tuple[str, ...]]
    speakers: tuple[str, ...]


TRAINING = Corpus(
    sentences={
        "en-us": (
            "Good morning, how are you today?",
            "The train to the coast leaves at half past nine.",
            "Please tell me what you would like to know.",
            "We walked along the river until the sun went down.",
            "I have never seen so many birds in one place.",
            "Bring a warm coat, because the evenings are cold.",
            "Nobody knows who painted the old wooden door.",
            "She opened the window and listened to the rain.",
            "Maybe we could meet again next week.",
        ),
        "en": (
            "Thank you for calling, my name is Robert.",
            "Could you spell that for me, please?",
            "Put the kettle on and sit by the fire.",
            "It will take about five minutes, I believe.",
            "Every bottle on the shelf has a blue label.",
        ),
        "de": (
            "Guten Tag, was kann ich für Sie tun?",
            "Der Zug kommt heute leider etwas später an.",
            "Im Garten blühen schon die ersten Apfelbäume.",
            "Bitte warten Sie einen kleinen Augenblick.",
        ),
        "fr": (
            "Bonjour, je suis heureux de vous voir.",
            "La petite maison se trouve au bord de la mer.",
            "Nous avons mangé du pain avec du fromage.",
        ),
        "es": (
            "Buenas tardes, me llamo Carmen y vivo aquí.",
            "El perro corre por la playa todas las mañanas.",
            "Mañana vamos a comprar pan y manzanas.",
        ),
        "it": (
            "Buongiorno, la colazione è pronta.",
            "Abbiamo camminato tutta la notte sotto la luna.",
        ),
        "pt": ("Bom dia, o mercado abre às oito horas.", "Ela gosta muito de música e de dança."),
        "sv": ("God morgon, hur mår du idag?", "Vi bor i ett gammalt hus vid havet."),
    },
    speakers=("", "+m1", "+m2", "+m3", "+m4", "+f1", "+f2", "+f4"),
)
HELD_OUT = Corpus(
    sentences={
        "en-us": (
            "Welcome back, the museum is open until six in the evening.",
            "My brother keeps bees behind the mountain hut.",
            "Of course I remember what you promised yesterday.",
        ),
        "en": ("Have a look at the map before you go out there.",),
        "de": ("Morgen früh fahren wir gemeinsam an den Bodensee.",),
        "nl": ("Goedemiddag, waar wilt u vandaag naartoe gaan?",),
        "pl": ("Dzień dobry, poproszę kawę i kawałek ciasta.",),
        "fr": ("Il fait beau, allons au marché ensemble.",),
    },
    speakers=("+m7", "+f5", "+f3", "+m8"),
)
"""None of these sentences and speakers, and two languages less, are in the training."""


def utterance(
    random: np.random.Generator,
    corpus: Corpus,
    seconds: float,
    *,
    music_share: float = MUSIC_SHARE,
    silent_share: float = SILENT_SHARE,
) -> Samples:
    """Returns sentences with pauses between them, noise below; now and then music, or nothing."""
    length = round(seconds * MODEL_RATE_HZ)
    noise = random.standard_normal(length) * _gain(random.uniform(*NOISE_DB))
    if random.random() < silent_share:
        return noise.astype(np.float32)
    parts = [_pause(random)] if random.random() < 0.6 else []
    while sum(map(len, parts)) < length:
        parts.append(_music(random) if random.random() < music_share else _sentence(random, corpus))
        parts.append(_pause(random))
    sound = np.concatenate(parts)[:length]
    loud = sound[np.abs(sound) > QUIET]
    if len(loud):
        sound *= _gain(random.uniform(*LOUDNESS_DB)) / np.sqrt(np.square(loud).mean())
    return np.clip(sound + noise, -1, 1).astype(np.float32)


def _sentence(random: np.random.Generator, corpus: Corpus) -> Samples:
    languages = tuple(corpus.sentences)
    counts = np.array([len(corpus.sentences[language]) for language in languages])
    language = languages[random.choice(len(languages), p=counts / counts.sum())]
    sentences = corpus.sentences[language]
    return say(
        sentences[random.integers(len(sentences))],
        voice=language + corpus.speakers[random.integers(len(corpus.speakers))],
        words_per_minute=int(random.integers(110, 190)),
        pitch=int(random.integers(20, 80)),
    )


def _pause(random: np.random.Generator) -> Samples:
    return np.zeros(int(random.uniform(0.2, 1.2) * MODEL_RATE_HZ), np.float32)


def _music(random: np.random.Generator) -> Samples:
    """Returns a few notes with overtones, each struck and dying away."""
    notes = []
    for _ in range(random.integers(2, 6)):
        time = np.arange(int(random.uniform(0.15, 0.6) * MODEL_RATE_HZ)) / MODEL_RATE_HZ
        pitch = 110 * 2 ** (random.integers(0, 36) / 12)
        overtones = range(1, int(random.integers(2, 6)))
        wave = sum((np.sin(2 * np.pi * pitch * k * time) / k for k in overtones), np.zeros(1))
        notes.append(0.2 * wave * np.exp(-time * random.uniform(1, 8)))
    return np.concatenate(notes).astype(np.float32)


def _gain(level_db: float) -> float:
    return 10 ** (level_db / 20)

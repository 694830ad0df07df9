"""An admission note in plain English: ankle swelling, fever, and how sudden the onset was.

Each grade has words of its own, so a bag of words sees the grade without knowing which sign an
adjective belongs to. Nuisance: which wording, the order of sentences, small talk, capital letters.
"""

import numpy as np
from jaxtyping import Int

# [finding][grade]: wordings, none of which is part of one of another grade.
WORDINGS = (
    (
        ("ankles slim", "slim ankles"),
        ("faint pitting", "pitting is faint"),
        ("calves swollen", "swollen calves"),
        ("thighs waterlogged", "waterlogged thighs"),
    ),
    (
        ("dry and cool", "cool and dry"),
        ("a little flushed", "flushed a little"),
        ("hot and perspiring", "perspiring and hot"),
        ("shaking with rigors", "rigors with shaking"),
    ),
    (
        ("over many months", "many months now"),
        ("over some weeks", "some weeks now"),
        ("over two days", "two days now"),
        ("over mere minutes", "mere minutes now"),
    ),
)
LEADS = (("Legs:", "On inspection"), ("Skin:", "Nurses report"), ("Breathlessness:", "Dyspnoea"))
SMALL_TALK = (
    "Seen in the emergency department.",
    "Arrived with family.",
    "Lives alone.",
    "No known allergies.",
)


def render(rng: np.random.Generator, findings: Int[np.ndarray, "3"], site: float) -> str:
    """A note with these findings; `site` in −1..1 leans to one way of putting things."""
    facts = [
        f"{_either(rng, leads, site)} {_either(rng, wordings[grade], site)}."
        for leads, wordings, grade in zip(LEADS, WORDINGS, findings.tolist(), strict=True)
    ]
    sentences = [*facts, SMALL_TALK[rng.integers(len(SMALL_TALK))]]
    note = " ".join(sentences[i] for i in rng.permutation(len(sentences)))
    return note.upper() if rng.random() < 0.1 else note


def decode(note: str) -> Int[np.ndarray, "3"]:
    """The grade of each finding whose wording the note holds."""
    text = note.lower()
    return np.array([_grade(text, grades) for grades in WORDINGS])


def _either(rng: np.random.Generator, ways: tuple[str, str], site: float) -> str:
    return ways[int(rng.random() < 0.5 + 0.4 * site)]


def _grade(text: str, grades: tuple[tuple[str, ...], ...]) -> int:
    (grade,) = [g for g, words in enumerate(grades) if any(w in text for w in words)]
    return grade

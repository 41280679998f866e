"""What the pocket CLIPs read: class prompts with and without a style, and noisy captions of whole
scenes."""

from __future__ import annotations

import numpy as np

from benchmark.data.digits import CLASSES as DIGITS
from benchmark.data.pictograms import FORMS

CLASSES: tuple[str, ...] = (*FORMS, *DIGITS)  # pictograms and printed digits

# style word of a scene -> what a caption may call it; a scene carries one word of every line of
# FACTORS
FACTORS: dict[str, tuple[str, ...]] = {
    "look": ("plain", "bold", "outlined"),
    "size": ("small", "medium", "large"),
    "tilt": ("upright", "tilted"),
    "ground": ("light", "dark"),
    "colour": ("gray", "pastel", "colorful"),
    "texture": ("smooth", "noisy", "striped", "shaded", "checkered"),
    "clutter": ("clean", "scribbled"),
    "number": ("alone", "few", "crowded"),
}
ADJECTIVES: dict[str, tuple[str, ...]] = {  # words that stand in front of a class name
    "plain": ("plain", "solid"),
    "bold": ("bold", "thick", "heavy"),
    "outlined": ("outlined", "hollow", "thin line drawing of a"),
    "small": ("small", "tiny", "little"),
    "medium": ("medium sized",),
    "large": ("large", "big", "huge"),
    "upright": ("upright", "straight"),
    "tilted": ("tilted", "rotated", "slanted"),
    "light": ("dark", "black"),  # dark objects on a light ground
    "dark": ("bright", "white", "glowing"),
    "gray": ("gray", "colorless"),
    "pastel": ("pastel", "pale"),
    "colorful": ("colorful", "vivid"),
    "alone": ("single", "lonely"),
}
PLACES: dict[str, tuple[str, ...]] = {  # phrases that stand behind it
    "light": ("on a light background", "on bright paper"),
    "dark": ("on a dark background", "at night"),
    "smooth": ("on a smooth background", "on a plain wall"),
    "noisy": ("on a noisy background", "in a grainy photo", "in bad quality"),
    "striped": ("on a striped background", "on stripes"),
    "shaded": ("on a shaded background", "in soft light"),
    "checkered": ("on a checkered background", "on a chess board"),
    "clean": ("in a clean picture", "drawn neatly"),
    "scribbled": ("with scribbles all over", "in a messy cluttered picture"),
    "alone": ("alone", "all by itself"),
    "few": ("beside a few other things", "in a group"),
    "crowded": ("in a crowded picture", "among many other things"),
    "outlined": ("drawn with an outline only",),
    "bold": ("printed in bold",),
    "small": ("seen from far away",),
    "large": ("seen from close up", "in a close-up"),
    "tilted": ("lying on its side",),
}
OPENINGS = (
    "a photo of a", "a photo of a", "a photo of a", "a photo of the", "an image of a", "a picture "
    "of a", "there is a", "this is a", "a drawing of a", "a sign of a", "a bad photo of the",
    "a good photo of a", "", "a", "the", "one", "a photo of one", "an icon of a",
    "a rendering of a", "itap of a", "a scene with a", "you can see a",
)  # fmt: skip
FILLERS = (
    "here we have what somebody found on the table this morning , and if you look at it for a "
    "while there is a",
    "in this picture , which was taken yesterday , one can find , among other things , a",
    "this is one of many pictures from the same old book ; it shows quite clearly a",
    "look at this : the photo that my friend sent me last week has in it some kind of a",
    "i do not know who made this image or when , but what i can say is that it contains a",
    "the following picture was made for a test of how well a machine sees ; somewhere in it there "
    "is a",
)
_NOISE_TEXT = (
    "about after again air all an and animal answer any around art as ask at away back ball bank "
    "be bed before "
    "best blue board boat body book bottom box boy bread bring build but call can car card chair "
    "child city class "
    "cold color come computer corner country day desk do dog door down draw drive each early "
    "earth end eye family "
    "far farm fast father feel field fire fish floor food foot for forest form free friend from "
    "front full game "
    "garden girl give glass go gold good grass great green ground group half head hear help here "
    "high hill hold "
    "home hour how ice idea in iron island it keep kind king know lake land last learn leave left "
    "letter life "
    "line list live long low machine make man map meet metal middle milk minute money more "
    "morning mountain mouth "
    "move name near new night north not now object of off office old on open orange out page "
    "paint paper part "
    "party people person place plan plant play power press purple question rain read red rest "
    "right river road "
    "rock room round run salt school sea see shape shirt shoe shop short show side silver sky "
    "sleep snow some "
    "song soon sound south space stand stone story street strong summer system table take talk "
    "team tell test "
    "that this time to top town toy train travel tree turn under up use very view voice wait walk "
    "wall want warm "
    "watch water way well west what when white wild wind window winter with wood word work world "
    "write year "
    "yellow young "
)
NOISE = tuple(_NOISE_TEXT.split())


def vocabulary() -> list[str]:
    """Texts that together contain every word a caption or prompt can hold."""
    phrases = [
        *CLASSES,
        *OPENINGS,
        *FILLERS,
        *NOISE,
        "a , and b .",
        "a photo of it with ; : and a",
        "only",
    ]
    for table in (ADJECTIVES, PLACES):
        phrases += [phrase for group in table.values() for phrase in group]
    return phrases


def plain_template(random: np.random.Generator) -> str:
    """A prompt with a {} for the class that says nothing of style: usually short, now and then 20
    to 40 words long."""
    kind = random.random()
    opening = str(random.choice(OPENINGS))
    if kind < 0.12:
        opening = str(random.choice(FILLERS))
    elif kind < 0.30:  # words without meaning, as many as a learned context may have
        opening = " ".join(random.choice(NOISE, random.integers(1, 20)))
    ending = "." if random.random() < 0.5 else ""
    return f"{opening} {{}}{ending}".strip()


def style_template(random: np.random.Generator, words: tuple[str, ...]) -> str:
    """A prompt with a {} for the class that says the given style words."""
    before, behind = [], []
    for word in words:
        if word in ADJECTIVES and (word not in PLACES or random.random() < 0.5):
            before.append(str(random.choice(ADJECTIVES[word])))
        else:
            behind.append(str(random.choice(PLACES[word])))
    opening = str(random.choice(FILLERS if random.random() < 0.1 else OPENINGS))
    ending = "." if random.random() < 0.5 else ""
    return " ".join([opening, *before, "{}", *behind]).strip() + ending


def caption(random: np.random.Generator, labels: np.ndarray, styles: tuple[str, ...]) -> str:
    """A noisy caption of a scene: some of its classes in any order, some words of its style, seldom
    a wrong class."""
    kept = [CLASSES[label] for label in random.permutation(labels) if random.random() < 0.85] or [
        CLASSES[labels[0]]
    ]
    if random.random() < 0.05:
        kept[-1] = CLASSES[random.integers(len(CLASSES))]
    words = [word for word in random.permutation(styles) if random.random() < 0.3][:3]
    things = " and a ".join(kept)
    return style_template(random, tuple(str(word) for word in words)).replace("{}", things)

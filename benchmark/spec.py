"""The nouns of a run."""

import difflib

SHOWN = 10  # names that an error message lists; of more, the nearest five


def nearest(wrong: str, known: list[str]) -> str:
    """The tail of an error message: the nearest match, then what is known."""
    match = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    hint = f"Did you mean {match[0]!r}? " if match else ""
    if len(known) <= SHOWN:
        return f"{hint}Known: {', '.join(known) or 'none'}."
    close = difflib.get_close_matches(wrong, known, n=5, cutoff=0.0)
    return f"{hint}The nearest of {len(known)}: {', '.join(close)}."

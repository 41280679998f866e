"""The nouns of a run."""

import difflib


def nearest(wrong: str, known: list[str]) -> str:
    """The tail of an error message: the nearest match, then everything that is known."""
    match = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    hint = f"Did you mean {match[0]!r}? " if match else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."

"""Text that untrusted programs wrote, made fit to be shown."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""Return a text in which nothing is hidden, and which cannot steer a terminal.

    Written out as in Python (``\x1b``, ``\u202e``): control characters but line feed and tab,
    characters without a shape such as those that turn the direction of writing, and halves of
    characters. Joiners, which some scripts need, stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written(character) for character in text)


def _written(character: str) -> str:
    if character in "\n\t\u200c\u200d" or (character.isascii() and character.isprintable()):
        return character
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    # Selectors of a variant beyond the 16 that emoji use can carry a hidden text.
    return escaped(character) if hidden or 0xE0000 <= ord(character) < 0xE1000 else character


def escaped(character: str) -> str:
    r"""Return a character as Python writes it out: ``\x1b``, ``\u202e``, ``\U000e0041``."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

r"""Inline commands: a line of words instead of a RESP array, so that `nc` can talk too.

Quoting is Redis's (`sdssplitargs`): "..." with \n \r \t \b \a \xHH and any other character
after a backslash standing for itself; '...' with \' only. A closing quote must end its word.
"""

from __future__ import annotations

_SPACE = frozenset(b" \t\n\r\v\f")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_ESCAPES = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("b"): 8, ord("a"): 7}
_DOUBLE, _SINGLE, _BACKSLASH, _X = b"\"'\\x"
_QUOTES = (_DOUBLE, _SINGLE)


def split_line(line: bytes) -> list[bytes] | None:
    """Return the words of a line; None when its quotes are not balanced."""
    if _DOUBLE not in line and _SINGLE not in line:
        return line.split()
    words: list[bytes] = []
    position = 0
    while True:
        while position < len(line) and line[position] in _SPACE:
            position += 1
        if position == len(line):
            return words
        word = bytearray()
        end = _read_word(line, position, word)
        if end is None:
            return None
        words.append(bytes(word))
        position = end


def _read_word(line: bytes, position: int, word: bytearray) -> int | None:
    """Read the word at `position` into `word`. Return where it ends; None: quotes unbalanced."""
    while position < len(line) and line[position] not in _SPACE:
        byte = line[position]
        if byte in _QUOTES:
            end = _read_quoted(line, position + 1, byte, word)
            if end is None or (end < len(line) and line[end] not in _SPACE):
                return None
            return end
        word.append(byte)
        position += 1
    return position


def _read_quoted(line: bytes, position: int, quote: int, word: bytearray) -> int | None:
    """Read up to the closing `quote`. Return the position after it; None when it is missing."""
    while position < len(line):
        byte = line[position]
        if byte == quote:
            return position + 1
        if byte == _BACKSLASH and position + 1 < len(line):
            following = line[position + 1]
            if quote == _DOUBLE:
                digits = line[position + 2 : position + 4]
                if following == _X and len(digits) == 2 and _HEX.issuperset(digits):
                    word.append(int(digits, 16))
                    position += 4
                else:
                    word.append(_ESCAPES.get(following, following))
                    position += 2
                continue
            if following == _SINGLE:
                word.append(_SINGLE)
                position += 2
                continue
        word.append(byte)
        position += 1
    return None

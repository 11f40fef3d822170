"""Integers as Redis reads them: canonical decimal, signed, 64 bits."""

from __future__ import annotations

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
_DIGITS_MAX = 20


def parse_integer(text: bytes) -> int | None:
    """Return the number that `text` writes, or None when it is not one.

    Only the form that printing gives is a number (Redis's `string2ll`): no spaces, no plus, no
    leading zeros, no -0; from -2**63 to 2**63 - 1.
    """
    if len(text) > _DIGITS_MAX:
        return None
    try:
        number = int(text)
    except ValueError:
        return None
    if b"%d" % number != text or not INT64_MIN <= number <= INT64_MAX:
        return None
    return number

"""Who may come in: AUTH, and the options of HELLO.

There is one user, `default`, with one password or none.
"""

from __future__ import annotations

import hmac

import msgspec

from .resp_local import integer

WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled."
NO_PASSWORD_SET = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
AUTHENTICATION_REQUIRED = "NOAUTH Authentication required."
HELLO_REQUIRES_AUTHENTICATION = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
    "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
    "RESP protocol version at the same time"
)


def password_error(expected: str | None, user: bytes, given: bytes) -> str | None:
    """Return why `user` may not come in with the password `given`; None when they may."""
    right = expected is None or hmac.compare_digest(expected.encode(), given)
    return None if user == b"default" and right else WRONG_PASSWORD


def auth_error(expected: str | None, words: list[bytes]) -> str | None:
    """Return the error of AUTH [user] password; None when the client is authenticated now."""
    if len(words) > 3:
        return "ERR syntax error"
    if len(words) == 2 and expected is None:
        return NO_PASSWORD_SET
    return password_error(expected, words[1] if len(words) == 3 else b"default", words[-1])


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What a HELLO asks for; `error` when it cannot be had."""

    error: str | None = None
    version: int | None = None
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None


def parse_hello(words: list[bytes]) -> Hello:
    """Read HELLO [version [AUTH user password] [SETNAME name]]; versions 2 and 3 are spoken."""
    version = None
    if len(words) > 1:
        version = integer(words[1])
        if version is None:
            return Hello(error="ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            return Hello(error="NOPROTO unsupported protocol version")
    credentials = name = None
    rest = words[2:]
    while rest:
        option = rest[0].upper()
        if option == b"AUTH" and len(rest) >= 3:
            credentials = (rest[1], rest[2])
            rest = rest[3:]
        elif option == b"SETNAME" and len(rest) >= 2:
            name = rest[1]
            rest = rest[2:]
        else:
            shown = rest[0].decode("utf-8", "surrogateescape")
            return Hello(error=f"ERR Syntax error in HELLO option '{shown}'")
    return Hello(version=version, credentials=credentials, name=name)

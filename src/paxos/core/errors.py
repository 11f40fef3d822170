"""The exception tree.

PaxosError
├── InvariantViolation      a safety property does not hold: the process must stop
├── ConfigurationError      a setting is wrong: names key, value and what would be good
├── StorageError            a volume failed; fatal to the node
│   └── VolumeDamaged       a volume's bytes are not what was written (bit rot, foreign, torn)
├── ProtocolError
│   ├── LocalProtocolError  we were about to break the protocol
│   └── RemoteProtocolError the other side broke it: close that one connection
└── RequestError            what a client is told
    ├── DefiniteError       it did not happen
    └── IndefiniteError     it may have happened, or may yet
"""

from __future__ import annotations


class PaxosError(Exception):
    """Root of every error that this project raises on purpose."""


class InvariantViolation(PaxosError):
    """A safety property does not hold. Nothing catches this: the process stops and says why."""


class ConfigurationError(PaxosError):
    """A setting is wrong. The message names the key, the bad value and what would be good."""


class StorageError(PaxosError):
    """A volume could not be read, written or synced. Fatal to the node that owns it."""


class VolumeDamaged(StorageError):
    """A volume's contents fail their checksums or belong to somebody else."""


class ProtocolError(PaxosError):
    """A rule of a wire protocol was broken."""


class LocalProtocolError(ProtocolError):
    """This process was about to break the protocol: a bug here."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: its connection is closed and nobody else is harmed."""


class RequestError(PaxosError):
    """A client's request failed."""


class DefiniteError(RequestError):
    """The request did not take effect and never will."""


class IndefiniteError(RequestError):
    """The request may have taken effect, or may yet."""


def invariant(holds: bool, what: str) -> None:
    """Raise InvariantViolation unless the property holds. Stays on under `-O`."""
    if not holds:
        raise InvariantViolation(what)

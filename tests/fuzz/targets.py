"""Every reader of bytes, as a target: one function from bytes to nothing, which raises on trouble.

A target feeds bytes as production does, allows only the errors that are documented, and asserts
what must hold: bounds on what is held, the same outcome however the bytes are cut, and that what
is accepted can be encoded and decoded again.
"""

from __future__ import annotations

from .config_target import CONFIG
from .http_target import HTTP
from .inputs import Target
from .journal_target import FORGED, ROT
from .machine_target import COMMANDS_TARGET, VALUES
from .peer_target import PEER
from .resp_target import DOOR, READER

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (READER, DOOR, PEER, ROT, FORGED, HTTP, VALUES, COMMANDS_TARGET, CONFIG)
}
"""Every target by its name, which is also its folder's in corpus/ and crashes/."""

"""What can be tuned in the roles: timeouts (liveness only, DESIGN rule 12) and limits.

Every limit has a name; nothing in a role grows past the limits here. The configuration file
sets these (see apps/config.py), and docs/operating.md lists them.
"""

from __future__ import annotations

import msgspec


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in milliseconds. None of them can break safety, however wrong."""

    heartbeat_ms: int = 100
    """A leader's heartbeat interval."""
    suspect_ms: int = 350
    """Silence after which a leader is suspected; a leader without a quorum steps down after it."""
    backoff_ms: int = 60
    """The longest random wait before a candidacy; doubled with each failed one, up to 8 times."""
    resend_ms: int = 150
    """How long an unanswered Prepare or Accept waits before it is sent again."""
    gap_ms: int = 40
    """How long a learner waits for a missing slot before it asks the acceptors, and then the
    leader."""
    request_ms: int = 5000
    """How long a client's request may take before it is answered with an error."""
    retry_ms: int = 400
    """How long a gateway waits for an answer before it asks again, elsewhere where it can."""
    founding_ms: int = 100
    """How often an acceptor on a blank volume asks the others about theirs."""
    upkeep_ms: int = 500
    """How often an acceptor looks for slots that it has missed, and a learner whether its snapshot
    has reached the acceptors."""
    registration_ms: int = 1000
    """How often a node renews its registration; discovery forgets it after three of these."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds. `_bytes` in bytes, the others are counts."""

    value_bytes_max: int = 8 * 1024 * 1024
    """The largest command (keys and values together) that a client may send."""
    batch_bytes_max: int = 1024 * 1024
    """A batch is closed when it would pass this; one larger command travels alone."""
    batch_commands_max: int = 4096
    """A batch holds at most so many commands."""
    batches_inflight_max: int = 4
    """How many batches of one gateway may be under way."""
    gateway_queue_bytes_max: int = 64 * 1024 * 1024
    """What a gateway holds for clients before it stops reading from them."""
    slots_inflight_max: int = 64
    """How many slots a leader keeps open at once."""
    slots_inflight_bytes_max: int = 64 * 1024 * 1024
    """How many bytes of values a leader keeps open at once (a single larger one goes alone)."""
    leader_queue_bytes_max: int = 64 * 1024 * 1024
    """Batches that wait at the leader for a free slot; more are dropped and sent again later. A
    single larger one waits alone."""
    catchup_slots_max: int = 1024
    """How many slots one request of a learner or one reopening covers."""
    catchup_bytes_max: int = 4 * 1024 * 1024
    """About how many bytes of values one catch-up answer or one part of a promise carries."""
    message_bytes_max: int = 40 * 1024 * 1024
    """The largest frame between nodes; a larger one closes the connection."""
    link_bytes_max: int = 96 * 1024 * 1024
    """What waits on one link to a slow node before the link is closed."""
    snapshot_log_bytes: int = 64 * 1024 * 1024
    """A snapshot is taken when the values since the last one take so many bytes, or as many as the
    last one itself where that is larger."""
    snapshot_log_slots: int = 100_000
    """A snapshot is taken when the log has grown by so many slots since the last one."""
    snapshot_part_bytes: int = 256 * 1024
    """How much of a snapshot travels in one message: little enough to hold nobody up."""
    responses_max: int = 1000
    """How many confirmations a gateway remembers for `responses`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a role is told besides who its peers are."""

    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()

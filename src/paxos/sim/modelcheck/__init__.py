"""The exhaustive model checker: every interleaving of the real roles in small, named worlds.

`bounds` names the worlds, `live` runs the real roles, journals and steppers, `nodes` runs each
step of each distinct node once, `moves` says what a node can do next, `explorer` goes
breadth-first through every state, `learning` looks at the learner apart, `checks` says what must
hold, and `story` tells a counter-example.

What a search covers, and what it leaves out:

- Messages are lost, doubled, delayed and reordered without bound: the network is the set of what
  was ever sent (`mail`). A crash comes between any two events, between an event's step and its
  sync (unsynced records lost, or kept by luck), and between its sync and its sends; the node then
  starts again from its real journal. A node that stays down is one that does no more.
- Messages that safety does not need are always lost, except in the worlds that are about them
  (`Bounds.delivered`), resend timers do not fire (a message that was sent can arrive again
  anyway), links are only seen to close and open in `links`, and a quorum answers a canvass at one
  moment in all worlds but `canvass`. That leaves out behaviours: it can hide a fault, and never
  make one up.
- Silent steps are put off (`moves`), an acceptor's answers that change nothing at it are given at
  once (`Moves.settled`: a message more never hinders anything), the learner is looked at apart
  (`learning`), a state with fewer crashes left to happen is dropped for the same one with more,
  and of states that differ by a renaming of the acceptors one is kept. None of these loses a
  violation; tests compare with searches that do none of it.

A depth, and the length of a counter-example, counts single steps of nodes, silent ones too.
Answers that change nothing at their sender are not counted.
"""

from .bounds import WORLDS, Bounds, world_named
from .explorer import Explorer, Progress, Result, Violation
from .story import Story, ladder_lines, step_lines, told

__all__ = (
    "WORLDS",
    "Bounds",
    "Explorer",
    "Progress",
    "Result",
    "Story",
    "Violation",
    "ladder_lines",
    "step_lines",
    "told",
    "world_named",
)

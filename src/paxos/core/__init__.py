"""The pure room: the roles of Multi-Paxos as step functions.

Nothing in here has a clock, a socket, a disk, dice, threads or logging. Time and dice
arrive as inputs; what a role wants done leaves as effects (see `effects`). import-linter
holds this.
"""

"""Every mutant, by the role that it sits in."""

from __future__ import annotations

from tests.mutants.catalogue import acceptors, gateways, learners, members, proposers, snapshots

MUTANTS = (
    *acceptors.MUTANTS,
    *proposers.MUTANTS,
    *learners.MUTANTS,
    *gateways.MUTANTS,
    *snapshots.MUTANTS,
    *members.MUTANTS,
)

"""Simulated worlds: the very role code of production, run through the same stepper, where one seed
decides everything that happens."""

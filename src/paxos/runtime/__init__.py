"""The world around a role: its loop, timers, links, journal, log and metrics.

Refuses to decide anything: it brings events in and carries effects out, in the stepper's order.
"""

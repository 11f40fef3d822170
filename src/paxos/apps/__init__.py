"""The entry points of processes: configuration, command line, node, local supervisor.

Outermost layer: it may use everything, and nothing uses it.
"""

"""A strongly consistent, replicated key-value and coordination store on Multi-Paxos."""

__version__ = "0.1.0"

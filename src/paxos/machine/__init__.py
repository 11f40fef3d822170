"""The replicated state machine, pure: it applies the log and knows nothing of how it came."""

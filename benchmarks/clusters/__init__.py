"""The systems that are measured, each a three-node cluster on this machine."""

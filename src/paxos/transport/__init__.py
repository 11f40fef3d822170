"""Bytes between nodes: frames, the handshake that proves who is there, links that reconnect.

Refuses to know what a message means; it hands decoded messages over and sends encoded ones.
"""

"""A node's pages: what it is and does, for people and for programs, read-only.

`app.make_app(view)` makes them, `server.PageServer` serves them from the node's own loop.
"""

"""The journal's engines side by side: see docs/adr/0001-journal-engine.md."""

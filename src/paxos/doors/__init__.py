"""The doors: one client protocol each. A door only translates; it decides nothing."""

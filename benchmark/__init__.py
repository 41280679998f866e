"""The engine of the suite; it names no method and no setting."""

"""The engine of the suite; it names no method and no setting."""

__version__ = "0.1.0"

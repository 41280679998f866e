"""Tables, figures and the page, from records alone. `load` gives the records as a data frame."""

from reports.export import load

__all__ = ["load"]

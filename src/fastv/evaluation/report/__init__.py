"""The report: page, plots, tables and texts."""

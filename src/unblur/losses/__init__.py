"""Functions to be made small."""

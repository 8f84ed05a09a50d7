"""Makers of data sets."""

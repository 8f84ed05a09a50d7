"""Weights: names, files, cards, conversion."""

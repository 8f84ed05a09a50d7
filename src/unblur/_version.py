"""The version, alone in a file so that reading it imports nothing."""

__version__ = "0.1.0.dev0"

PIPELINE_VERSION = 1
"""Of how films are made, beside the weights; noted with initial estimates that are kept (`unblur data precompute`).

Raise it when the same weights make other frames than before, by more than rounding: a refiner that learned from
initial estimates has never seen others.
"""

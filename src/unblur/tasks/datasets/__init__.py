"""Pictures to train and measure on, made or put in order."""

"""The tasks on files: found, done one after the other, written, told of."""

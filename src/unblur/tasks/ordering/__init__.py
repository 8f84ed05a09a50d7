"""Which way time runs in the clips of files: the commands of `unblur order`."""

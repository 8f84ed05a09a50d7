"""One family of networks per file; constructor arguments are the whole configuration."""

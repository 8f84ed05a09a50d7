"""Released weights of the papers' authors, made files of this package."""

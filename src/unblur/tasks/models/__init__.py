"""Models, ready to run: named or chosen, loaded, told of."""

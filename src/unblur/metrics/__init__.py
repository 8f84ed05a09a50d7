"""How good is it: fidelity, sequences, named protocols."""

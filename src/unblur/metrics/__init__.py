"""Functions of a prediction and the truth: fidelity, sequences, order, Frechet and identity distances."""

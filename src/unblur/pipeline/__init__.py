"""How an answer is made: restore, motion, edges, consistency, residual, film."""

"""How good models are: protocols, what they measure, and the reports of it."""

"""Lightning modules and the data they learn from."""

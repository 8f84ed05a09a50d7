"""Named protocols and the tables that they print."""

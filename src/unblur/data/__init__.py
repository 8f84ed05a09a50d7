"""What networks are trained and measured on."""

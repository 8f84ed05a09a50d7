"""What a photo tells before anything is restored."""

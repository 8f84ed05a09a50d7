"""What a user wants: picture in, picture out. The only layer that joins everything below."""

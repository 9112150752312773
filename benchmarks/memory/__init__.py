"""What the processes of a mirror hold: at rest, with idle connections, after a load."""

"""What a CI runner's rustup and cargo are set up to do, and what of it passes the mirror by."""

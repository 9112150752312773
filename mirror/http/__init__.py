"""What the HTTP RFCs say, as pure functions."""

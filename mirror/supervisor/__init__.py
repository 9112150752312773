"""The process that starts the others, and the sockets they share."""

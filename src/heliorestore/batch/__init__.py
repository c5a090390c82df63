"""A night of bursts: what is to be done stands in a folder, and any number of workers do it."""

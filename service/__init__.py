"""For people and other programs: the command line."""

"""One flow a file; the file's name is the flow's name."""

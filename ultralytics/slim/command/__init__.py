"""The command line: what it reads, how it ends, and what a pipe sees of it."""

"""What `bounds.py` measures, a file for each of its subcommands."""

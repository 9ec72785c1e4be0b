"""The steps, one a module, each with `run(context)`."""

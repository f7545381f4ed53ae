"""`koco files`: the files of executions, one module for each of its commands."""

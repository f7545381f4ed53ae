"""What the peers run. Each is run by the Python of its own venv, so it imports nothing of koco's.

The folder is on their `PYTHONPATH`, and no name here is that of a package.
"""

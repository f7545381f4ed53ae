"""What Ray runs before each worker on a head that koco started.

The folder holds nothing else, because Python puts the folder of a script on `sys.path`.
"""

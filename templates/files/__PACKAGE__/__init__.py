"""A flow that reads files and makes one."""

"""Decodes what clients send: requests, and the parts of messages as inputs."""

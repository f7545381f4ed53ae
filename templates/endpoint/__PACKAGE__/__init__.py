"""A service with an endpoint of its own."""

"""Protocols by which other agents call koco's flows: translations of koco's own API."""

"""Completion at a press of Tab: the shells' scripts, and what the command line answers to them."""

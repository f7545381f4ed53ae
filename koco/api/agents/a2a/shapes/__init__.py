"""What clients are shown, in A2A's shapes: agent cards, tasks, messages, artifacts and updates."""

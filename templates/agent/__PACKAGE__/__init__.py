"""An agent with tools, a model and a person who approves."""

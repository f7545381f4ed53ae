"""Reading what clients send: their requests, and what the parts of their messages mean."""

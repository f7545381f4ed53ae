"""Who may use the API: keys, users, sessions, and the audit log. Begin with `keys`."""

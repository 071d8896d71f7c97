"""Real servers for the tests: one of each kind for a session, started when first asked for."""

"""What the domain is made of: a suspension, its identity and states, a beat. Pure."""

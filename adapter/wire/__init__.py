"""What EVAPI speaks: netstring framing and its payloads. Pure."""

"""What keeps the process in good order: health, watchdog, logs."""

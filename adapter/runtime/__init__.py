"""What keeps a process in good order, the adapter's or a consumer's: health, metrics, watchdog, logs."""

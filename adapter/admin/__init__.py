"""What operators ask and do, beside the running bridge. Never imports ``adapter.app``."""

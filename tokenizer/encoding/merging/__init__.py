"""From bytes to ids by merging pairs."""

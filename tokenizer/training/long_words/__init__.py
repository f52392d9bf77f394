"""Words so long that nobody may walk through them for each pair merged."""

"""Starts of samples in, their ids out: one as a view where the file allows it, a batch as one array, lock-free."""

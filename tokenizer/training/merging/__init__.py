"""Words and their counts in, merges out."""

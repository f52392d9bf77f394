"""Texts in, merges out: words counted, pairs merged, with the result of the `tokenizers` library's BpeTrainer."""

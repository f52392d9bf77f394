"""Tokenizer files of others, a module each: `vocab.json` + `merges.txt`, tiktoken ranks, Hugging Face folders."""

"""The parts of `tokenizer.compare`: texts of any source, a count for each tokenizer, the figures of the paper."""

"""NFC as the `tokenizers` library has it, where a text is not normalized already."""

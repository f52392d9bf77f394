"""Characters of UTF-8 text in compiled kernels: what a code point is, and where NFC could change a text."""

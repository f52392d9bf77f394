"""Words as symbols, and the table of their pairs."""

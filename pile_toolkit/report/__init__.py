"""Everything in a root folder on one page: a self-contained HTML file, and the same figures as JSON."""

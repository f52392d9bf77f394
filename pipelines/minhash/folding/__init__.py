"""Texts as signatures see them: normalized UTF-8."""

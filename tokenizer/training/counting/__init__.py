"""Texts in, distinct words and how often they occur out."""

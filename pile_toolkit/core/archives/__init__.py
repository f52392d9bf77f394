"""Archives from outside: tar and zip files, read member by member."""

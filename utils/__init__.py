"""The utility package of the course: everything a lesson needs, importable on its own."""

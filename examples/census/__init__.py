"""A census of source code: it walks real files, measures each in its own run, and reports what failed."""

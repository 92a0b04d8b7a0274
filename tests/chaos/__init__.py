"""What kills, cuts and freezes: real processes, real servers, and nothing lost."""

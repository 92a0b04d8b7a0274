"""The product used as a newcomer uses it, through its public door alone. Reads as a tutorial."""

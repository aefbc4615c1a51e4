"""What an error means for a call: facts told of any client's error, and a table of rules."""

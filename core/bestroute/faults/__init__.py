"""What an error means for a call: a table of rules, replies that it was paid for, options that a server refuses."""

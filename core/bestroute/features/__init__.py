"""What learners read of a query and of an answer."""

"""Features of queries and answers for learners."""

"""From predictions and costs to one plan for each query, and what was promised of it."""

"""Records of real answers: their files, how they are collected, and which of them something was made from."""

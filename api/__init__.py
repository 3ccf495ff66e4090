"""Query API: typed questions in, numbers out; never SQL from users."""

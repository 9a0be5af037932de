"""The whole by real processes: two servers, TLS, real directories, real programs as writers."""

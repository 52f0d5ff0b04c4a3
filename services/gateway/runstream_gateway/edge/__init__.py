"""HTTP itself: server, dispatch, limits, compression, security headers, access log."""

"""Pages for people under /console: events, lag, dead letters, promotions, status."""

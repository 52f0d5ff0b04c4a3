"""What the services are asked for people and scripts, with typed answers; the API and the console stand on it."""

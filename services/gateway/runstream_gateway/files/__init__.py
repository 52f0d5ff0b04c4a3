"""Files in the artifact service, as streams: what doors read and write without holding it."""

"""What policies say: their documents, the grammar of metric conditions, and freeze windows. Values only, no storage."""

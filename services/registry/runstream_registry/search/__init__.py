"""Search of models and versions with the grammar of docs/search.md; prompts are hidden unless the filter asks for them."""

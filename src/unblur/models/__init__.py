"""A model as a thing: what there is, its card, its weights, and how released weights become ours."""

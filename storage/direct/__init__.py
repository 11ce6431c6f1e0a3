"""Commands to MongoDB on connections of the event loop's own, for what stands in the way of every message."""

"""The servers that are measured, each started here and ended here, with what the load generator must know of them."""

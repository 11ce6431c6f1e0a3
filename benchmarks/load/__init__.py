"""The load generator: Socket.IO clients by hand, thousands a process, lighter than any server they talk to."""
